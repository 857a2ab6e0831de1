# frozen_string_literal: true

module TaskerCore
  module DomainEvents
    # A hash whose keys fit as symbols and as strings, and whose fields are methods.
    class Fields < ActiveSupport::HashWithIndifferentAccess
      # Declares fields.
      def self.fields(*names)
        names.each { |name| define_method(name) { self[name] } }
        (@members ||= []).concat(names)
      end

      # @return [Array<Symbol>] what was declared
      def self.members = @members || []

      # From keywords or a hash.
      def self.of(given = {}, **keywords) = Types::Indifferent.fill(new, given.to_h.merge(keywords))
    end

    # An event as the template declares it; `schema` is checked by the core.
    class EventDeclaration < Fields
      fields :name, :publisher, :delivery_mode, :schema, :condition, :description
    end

    # What a step came to, as publishers see it.
    class StepResult < Fields
      fields :success, :result, :metadata, :error_message, :error_type, :error_code, :retryable

      def success? = success ? true : false
    end

    # The step an event is about. `attempts`: those started before this one.
    StepEventContext = Struct.new(:task_uuid, :step_uuid, :step_name, :namespace, :correlation_id, :task_name, :task_version,
                                  :attempts, keyword_init: true) do
      # From a step event of the core.
      def self.from_event(event) = new(**members.to_h { |name| [name, event.public_send(name)] })

      # From what a caller has of a step: such a context, a step's context, or a hash.
      def self.of(given)
        return given if given.is_a?(self)
        return from_event(given.event) if given.is_a?(Types::StepContext)

        said = given.respond_to?(:to_h) ? Types::Indifferent.symbols(given.to_h) : {}
        said[:namespace] ||= said[:namespace_name]
        members.each { |name| said[name] = given.public_send(name) if said[name].nil? && given.respond_to?(name) }
        new(**said.slice(*members))
      end

      def namespace_name = namespace
    end

    # Everything a publisher may look at. `emit` takes name, payload and metadata and says whether the event is published
    # already; when absent the event goes to the subscribers of this process.
    PublishContext = Struct.new(:event_name, :step_result, :event_declaration, :step_context, :emit, keyword_init: true)

    # A published event. Besides its fields it has `business_payload` (the payload), `execution_result` (what the step came
    # to) and `context` (task and step).
    class Event < Fields
      fields :event_id, :event_name, :event_version, :payload, :metadata, :business_payload, :execution_result, :context

      # From the document of the core.
      def self.from_hash(document)
        said = Types::Indifferent.of(document.to_h)
        metadata = said["metadata"] || {}
        of(said.slice("event_id", "event_name", "event_version").merge(
             "payload" => said["payload"], "metadata" => metadata, "business_payload" => said["payload"],
             "execution_result" => execution_result(said["payload"], metadata),
             "context" => metadata.slice("task_uuid", "task_name", "task_version", "namespace", "step_uuid", "step_name",
                                         "correlation_id", "attempt")
           ))
      end

      # The outcome as the event's condition tells it; of an event for every outcome, as its payload does.
      def self.execution_result(payload, metadata)
        success = case metadata["condition"]
                  when "failure", "permanent_failure", "retryable_failure" then false
                  when "success" then true
                  else !(payload.is_a?(Hash) && payload.key?("error_type"))
                  end
        result = { success:, status: success ? "completed" : "failed", step_uuid: metadata["step_uuid"] }
        success ? result : result.merge(error: payload)
      end
      private_class_method :execution_result
    end
  end
end
