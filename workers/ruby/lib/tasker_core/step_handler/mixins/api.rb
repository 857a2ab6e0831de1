# frozen_string_literal: true

require "json"
require "securerandom"

module TaskerCore
  module StepHandler
    # An answer of any status; the body is parsed where the server says it is JSON.
    class ApiResponse
      # Statuses other than 5xx that are worth another attempt.
      RETRYABLE = [408, 425, 429].freeze
      # Server errors that are not.
      PERMANENT = [501, 505].freeze
      # Statuses whose Retry-After header counts.
      RETRY_AFTER = [429, 503].freeze
      TYPES = { 401 => "authentication_error", 403 => "authorization_error", 404 => "not_found", 408 => "timeout",
                429 => "rate_limited", 503 => "service_unavailable", 504 => "timeout" }.freeze
      # What is stored in the place of a header's value that nobody may read.
      MASKED = "[masked]"
      # Headers whose values nobody may read.
      SECRET = /\A(set-cookie|authorization|proxy-.*|.*-token)\z/i
      private_constant :RETRYABLE, :PERMANENT, :RETRY_AFTER, :TYPES, :SECRET

      attr_reader :raw, :status_code, :headers, :body

      alias status status_code
      alias raw_response raw

      # @param response [Faraday::Response]
      def initialize(response)
        @raw = response
        @status_code = response.status
        @headers = Types::Indifferent.of(response.headers.to_h.transform_keys { |name| name.to_s.downcase })
        @body = parsed(response.body)
      end

      # Whether the status is 2xx.
      def ok? = status_code.between?(200, 299)
      alias success? ok?
      def client_error? = status_code.between?(400, 499)
      def server_error? = status_code.between?(500, 599)

      # Whether another attempt may help: 408, 425, 429 and 5xx except 501 and 505.
      def retryable? = self.class.retryable_status?(status_code)

      # Seconds asked for by a 429 or 503, as a number or as a date.
      def retry_after
        RETRY_AFTER.include?(status_code) ? Types::StepHandlerCallResult.seconds(headers["retry-after"]) : nil
      end

      # The type a failure with this status has.
      def error_type = self.class.error_type_of(status_code)

      # The type a failure with a status has.
      def self.error_type_of(status)
        TYPES.fetch(status) { status.to_i >= 500 ? "server_error" : "client_error" }
      end

      # Whether another attempt may help against a status.
      def self.retryable_status?(status)
        RETRYABLE.include?(status) || (status.to_i.between?(500, 599) && !PERMANENT.include?(status))
      end

      # Headers as they may be stored: cookies, credentials and tokens are masked.
      def self.shown(headers)
        headers.to_h.to_h { |name, value| [name, SECRET.match?(name.to_s) ? MASKED : value] }
      end

      # As it may be stored.
      def to_h = { status_code:, headers: self.class.shown(headers), body: }

      private

      def parsed(body)
        return body unless body.is_a?(String) && headers["content-type"].to_s.include?("json")

        Types::Indifferent.of(JSON.parse(body))
      rescue JSON::ParserError
        body
      end
    end

    module Mixins
      # An HTTP client (Faraday) and results made of its answers; mix it into any handler.
      #
      # Settings come from `config`, which holds `handler.initialization` of the step: `url timeout open_timeout ssl headers
      # params auth{type bearer|basic|api_key}`. A request that gets no answer raises, and is tried again like any other
      # network error.
      #
      # @example
      #   class Charge < TaskerCore::StepHandler::Api
      #     def call(context)
      #       response = post("/charges", data: { amount: context.get_input("amount") })
      #       response.ok? ? api_success(response) : api_failure(response)
      #     end
      #   end
      module API
        # Stands for "no body".
        NOTHING = {}.freeze
        # Fields of a body that may say what went wrong.
        MESSAGE_FIELDS = %w[error message detail error_message msg].freeze
        private_constant :NOTHING, :MESSAGE_FIELDS

        def capabilities = (defined?(super) ? super : ["process"]) | %w[http http_client api_integration]

        # JSON Schema of `handler.initialization`.
        def config_schema
          (defined?(super) ? super : nil) || { type: "object", properties: {
            url: { type: "string" }, timeout: { type: "number" }, open_timeout: { type: "number" }, ssl: { type: "object" },
            headers: { type: "object" }, params: { type: "object" }, auth: { type: "object" }
          } }
        end

        # Put before paths; overridden by `url` of the configuration.
        def base_url = nil

        # Seconds, overridden by `timeout` of the configuration.
        def default_timeout = 30

        # Sent with every request, below those of the configuration.
        def default_headers = {}

        # The Faraday connection of this handler. What is set on it (headers, cookies) ends with the handler, which is
        # made anew for every attempt.
        def connection = @connection ||= configure_connection

        # A copy has a connection of its own.
        def initialize_copy(other)
          super
          @connection = nil
        end

        # Makes a connection; override it, call `super` with a block, and change what you like.
        def configure_connection(settings = api_settings)
          require "faraday"
          options = { url: settings["url"], headers: settings["headers"], params: settings["params"],
                      ssl: settings["ssl"] }.compact
          Faraday.new(**options) do |faraday|
            faraday.options.timeout = settings["timeout"]
            faraday.options.open_timeout = settings["open_timeout"]
            authorize(faraday, settings["auth"])
            yield faraday if block_given?
            faraday.adapter Faraday.default_adapter
          end
        end

        # Requests give an answer of any status.
        #
        # @param params [Hash] of the query
        # @param headers [Hash] of this request
        # @return [ApiResponse]
        def get(path, params: {}, headers: {}) = answered(connection.get(path, params, headers))

        # @param data a text, or any value that is sent as JSON; without it, nothing is sent
        def post(path, data: NOTHING, headers: {}) = send_body(:post, path, data, headers)
        def put(path, data: NOTHING, headers: {}) = send_body(:put, path, data, headers)
        def patch(path, data: NOTHING, headers: {}) = send_body(:patch, path, data, headers)
        def delete(path, params: {}, headers: {}) = answered(connection.delete(path, params, headers))

        # Sends a file as a field of a form.
        #
        # @param field_name [String] also `field:`
        # @param additional_fields [Hash] further fields of the form
        # @raise [Errors::PermanentError] there is no such file
        def api_upload_file(path, file_path, field_name: nil, additional_fields: {}, field: "file",
                            content_type: "application/octet-stream", headers: {})
          raise Errors::PermanentError, "there is no file #{file_path}" unless File.file?(file_path)

          boundary = "tasker-#{SecureRandom.hex(12)}"
          parts = additional_fields.map { |name, value| form_part(boundary, name, value.to_s) }
          parts << form_part(boundary, field_name || field, File.binread(file_path), File.basename(file_path), content_type)
          type = { "Content-Type" => "multipart/form-data; boundary=#{boundary}" }
          answered(connection.post(path, "#{parts.join}--#{boundary}--\r\n", type.merge(headers)))
        end

        # Asks for page after page.
        #
        # Each answer's body names the next page under `pagination_key` (a cursor), which is sent under the same name until
        # there is none; gives the items of all pages (`data`, `items` or `results` of the body, else the body), each
        # yielded too. With `page_param:` pages are counted in it instead, until one is empty or not 2xx; gives every
        # answer, and a block says from an answer whether there is another page.
        #
        # @param limit [Integer, nil] items of a page, sent under `limit_key`
        # @param page_param [String, nil] the parameter that counts pages
        # @param first_page [Integer] number of the first of counted pages
        # @param max_pages [Integer] no more are asked for
        # @return [Array]
        def api_paginated_request(path, method: :get, pagination_key: "cursor", limit_key: "limit", max_pages: 100,
                                  params: {}, page_param: nil, first_page: 1, headers: {}, limit: nil, &block)
          params = params.merge(limit_key => limit) if limit
          return counted_pages(path, params, page_param, first_page, headers, max_pages, &block) if page_param

          items = []
          cursor = nil
          max_pages.times do
            asked = cursor.nil? ? params : params.merge(pagination_key => cursor)
            body = process_response(connection.public_send(method, path, asked, headers)).body
            page = items_of(body)
            page.each(&block) if block
            items.concat(page)
            cursor = body.is_a?(Hash) ? body[pagination_key] || body["next_#{pagination_key}"] : nil
            break if cursor.nil? || cursor.to_s.empty?
          end
          items
        end

        # An answer, if its status is 2xx.
        #
        # @param response [Faraday::Response, ApiResponse]
        # @return [ApiResponse]
        # @raise [Errors::PermanentError, Errors::RetryableError] as the status says
        def process_response(response)
          answer = response.is_a?(ApiResponse) ? response : answered(response)
          return answer if answer.ok?

          context = { status: answer.status_code, body: short_body(answer.body) }
          message = default_message(answer)
          raise Errors::RetryableError.new(message, retry_after: answer.retry_after, context:) if answer.retryable?

          raise Errors::PermanentError.new(message, error_code: "HTTP_#{answer.status_code}", context:)
        end

        # A success. Of an answer: `result`, or the body (under `data` unless it is a hash), and with `include_response` its
        # headers as metadata. With `data:`, a result of `data status headers execution_time_ms`.
        #
        # @param response [ApiResponse, nil]
        # @param execution_time_ms [Numeric, nil] milliseconds
        def api_success(response = nil, data: nil, status: 200, headers: {}, execution_time_ms: nil, metadata: {},
                        result: nil, include_response: false)
          if response.nil?
            said = { "data" => data, "status" => status, "headers" => ApiResponse.shown(headers) }
            said["execution_time_ms"] = execution_time_ms unless execution_time_ms.nil?
            return Types::StepHandlerCallResult.success(result: said, metadata: { api_call: true, **metadata })
          end

          about = { status_code: response.status_code, **metadata }
          about[:headers] = ApiResponse.shown(response.headers) if include_response
          result = response.body.is_a?(Hash) ? response.body : { "data" => response.body } if result.nil?
          Types::StepHandlerCallResult.success(result:, metadata: about)
        end

        # A failure that is tried again as the status says; Retry-After of a 429 or 503 is kept to.
        #
        # @param response [ApiResponse, nil] or say `message:` and `status:`
        # @param error_type [String, nil] as the status says when absent
        # @param execution_time_ms [Numeric, nil] milliseconds
        def api_failure(response = nil, message: nil, status: nil, error_type: nil, headers: {}, execution_time_ms: nil,
                        metadata: {})
          return stated_failure(message, status, error_type, headers, execution_time_ms, metadata) if response.nil?

          Types::StepHandlerCallResult.error(
            message: message || default_message(response), error_type: error_type || response.error_type,
            error_code: "HTTP_#{response.status_code}", retryable: response.retryable?,
            metadata: { status_code: response.status_code, body: short_body(response.body), **metadata },
            retry_after: response.retry_after, status_code: response.status_code
          )
        end

        private

        def api_settings
          given = (respond_to?(:config) ? config || {} : {}).transform_keys(&:to_s)
          { "url" => base_url, "timeout" => default_timeout }
            .merge(given.slice("url", "timeout", "open_timeout", "ssl", "params", "auth"))
            .merge("headers" => default_headers.merge(given["headers"] || {}))
        end

        def answered(response) = ApiResponse.new(response)

        def stated_failure(message, status, error_type, headers, execution_time_ms, metadata)
          after = headers.to_h.find { |name, _| name.to_s.casecmp?("retry-after") }&.last if [429, 503].include?(status)
          about = { api_call: true, status:, headers: ApiResponse.shown(headers), execution_time_ms: }.compact
          Types::StepHandlerCallResult.error(
            message: message || "HTTP #{status}",
            error_type: error_type || (status ? ApiResponse.error_type_of(status) : "handler_error"),
            error_code: status && "HTTP_#{status}", retryable: status.nil? || ApiResponse.retryable_status?(status),
            metadata: about.merge(metadata), status_code: status,
            retry_after: Types::StepHandlerCallResult.seconds(after)
          )
        end

        # The status with what the body says went wrong, or else the reason phrase.
        def default_message(answer)
          body = answer.body.is_a?(Hash) ? answer.body : {}
          said = MESSAGE_FIELDS.map { |name| body[name] }.find { |value| value && value != "" }
          said = said["message"] || said if said.is_a?(Hash)
          said ||= answer.raw.respond_to?(:reason_phrase) ? answer.raw.reason_phrase : nil
          said.to_s.empty? ? "HTTP #{answer.status_code}" : "HTTP #{answer.status_code}: #{said}"
        end

        def short_body(body) = body.is_a?(String) ? body[0, 1000].scrub : body

        def form_part(boundary, name, content, filename = nil, type = nil)
          head = "--#{boundary}\r\nContent-Disposition: form-data; name=\"#{name}\""
          head += "; filename=\"#{filename}\"\r\nContent-Type: #{type}" if filename
          "#{head}\r\n\r\n".b + content.b + "\r\n".b
        end

        def items_of(body)
          return body if body.is_a?(Array)
          return [body] unless body.is_a?(Hash)

          found = %w[data items results].map { |name| body[name] }.find { |value| value.is_a?(Array) }
          found || [body]
        end

        def counted_pages(path, params, page_param, first_page, headers, max_pages)
          answers = []
          while answers.size < max_pages
            answer = get(path, params: params.merge(page_param => first_page + answers.size), headers:)
            answers << answer
            more = block_given? ? yield(answer) : answer.body.respond_to?(:empty?) && !answer.body.empty?
            break unless answer.ok? && more
          end
          answers
        end

        def send_body(method, path, data, headers)
          return answered(connection.public_send(method, path, nil, headers)) if data.equal?(NOTHING) || data.nil?

          text = data.is_a?(String) ? data : Serialization.dump(data, "request body")
          type = data.is_a?(String) ? {} : { "Content-Type" => "application/json" }
          answered(connection.public_send(method, path, text, type.merge(headers)))
        end

        def authorize(faraday, auth)
          return if auth.nil?

          said = auth.transform_keys(&:to_s)
          case said["type"]
          when "bearer" then faraday.headers["Authorization"] = "Bearer #{said["token"]}"
          when "basic"
            faraday.headers["Authorization"] = "Basic #{["#{said["username"]}:#{said["password"]}"].pack("m0")}"
          when "api_key" then faraday.headers[said["header"] || "X-API-Key"] = (said["key"] || said["token"]).to_s
          else raise Errors::ConfigurationError, "`auth.type` is `#{said["type"]}`; it must be bearer, basic or api_key"
          end
        end
      end
    end
  end
end
