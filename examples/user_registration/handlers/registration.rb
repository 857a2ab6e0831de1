# frozen_string_literal: true

require "tasker_core"

# Handlers of the registration workflow: three of its steps run side by side.
module Users
  Errors = TaskerCore::Errors

  MONTHLY = { "free" => 0.0, "pro" => 29.0, "team" => 99.5 }.freeze
  PREFERENCES = { "language" => "en", "newsletter" => true }.freeze

  class CreateAccount < TaskerCore::StepHandler::Base
    HANDLER_NAME = "users.create_account"

    def call(context)
      email = context.get_input("email")
      unless email.include?("@")
        raise Errors::ValidationError.new("#{email} is no email address", error_code: "INVALID_EMAIL")
      end

      { account: "ACC-#{context.idempotency_key}", email: }
    end
  end

  class SetUpBilling < TaskerCore::StepHandler::Base
    HANDLER_NAME = "users.set_up_billing"

    def call(context)
      plan = context.get_input("plan")
      monthly = MONTHLY.fetch(plan) do
        raise Errors::PermanentError.new("there is no plan #{plan}", error_code: "UNKNOWN_PLAN")
      end
      { account: context.get_dependency_field("create_account", "account"), plan:, monthly: }
    end
  end

  class SavePreferences < TaskerCore::StepHandler::Base
    HANDLER_NAME = "users.save_preferences"

    def call(context) = PREFERENCES.merge(context.get_input("preferences"))
  end

  class SendWelcome < TaskerCore::StepHandler::Base
    HANDLER_NAME = "users.send_welcome"

    def call(context)
      { sent_to: context.get_dependency_field("create_account", "email"),
        subject: "Welcome, #{context.get_input("name")}" }
    end
  end

  class Activate < TaskerCore::StepHandler::Base
    HANDLER_NAME = "users.activate"

    def call(context)
      { account: context.get_dependency_field("create_account", "account"),
        status: "active",
        plan: context.get_dependency_field("set_up_billing", "plan"),
        language: context.get_dependency_field("save_preferences", "language"),
        welcomed: context.get_dependency_field("send_welcome", "sent_to") }
    end
  end
end
