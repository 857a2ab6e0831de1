# frozen_string_literal: true

module TaskerCore
  module Types
    # What a decision says: the steps to create, or none.
    DecisionPointOutcome = Struct.new(:type, :step_names, keyword_init: true) do
      # Creates the named steps and what follows from them.
      #
      # @raise [ArgumentError] no name, or something that is not a name
      def self.create_steps(step_names)
        names = Array(step_names).map { |name| name.is_a?(Symbol) ? name.name : name }
        unless !names.empty? && names.all? { |name| name.is_a?(String) && !name.empty? }
          raise ArgumentError, "#{step_names.inspect} names no steps; use no_branches when nothing is to be created"
        end

        new(type: "create_steps", step_names: names).freeze
      end

      # Creates nothing.
      def self.no_branches = new(type: "no_branches").freeze

      # As the core reads it, under `decision_point_outcome` of the result.
      def to_h = super.compact
    end
  end
end
