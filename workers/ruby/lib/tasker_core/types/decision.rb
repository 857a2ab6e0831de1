# frozen_string_literal: true

module TaskerCore
  module Types
    # What a decision says: the steps to create, or none.
    module DecisionPointOutcome
      # Nothing is to be created.
      class NoBranches < Model
        attribute :type, default: "no_branches", one_of: ["no_branches"]

        def requires_step_creation? = false
        def step_names = []
      end

      # These steps are to be created, and what follows from them.
      class CreateSteps < Model
        attribute :type, default: "create_steps", one_of: ["create_steps"]
        attribute :step_names

        def requires_step_creation? = true
      end

      module_function

      # Creates the named steps and what follows from them.
      #
      # @param step_names [String, Symbol, Array] a name or names
      # @raise [ArgumentError] no name, or something that is not a name
      # @return [CreateSteps]
      def create_steps(step_names)
        names = Array(step_names).map { |name| name.is_a?(Symbol) ? name.name : name }
        unless !names.empty? && names.all? { |name| name.is_a?(String) && !name.strip.empty? }
          raise ArgumentError, "#{step_names.inspect} names no steps; use no_branches when nothing is to be created"
        end

        CreateSteps.new(step_names: names)
      end

      # Creates nothing.
      #
      # @return [NoBranches]
      def no_branches = NoBranches.new

      # @return [CreateSteps, NoBranches, nil] what a hash says; nil if it is no outcome
      def from_hash(hash)
        said = hash.to_h.transform_keys(&:to_s)
        case said["type"]
        when "no_branches" then no_branches
        when "create_steps" then create_steps(said["step_names"])
        end
      rescue ArgumentError
        nil
      end
    end
  end
end
