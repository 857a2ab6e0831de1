# frozen_string_literal: true

require "json"

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
      private_constant :RETRYABLE, :PERMANENT, :RETRY_AFTER, :TYPES

      attr_reader :raw, :status_code, :headers, :body

      # @param response [Faraday::Response]
      def initialize(response)
        @raw = response
        @status_code = response.status
        @headers = response.headers.to_h.transform_keys(&:downcase)
        @body = parsed(response.body)
      end

      # Whether the status is 2xx.
      def ok? = status_code.between?(200, 299)
      def client_error? = status_code.between?(400, 499)
      def server_error? = status_code.between?(500, 599)

      # Whether another attempt may help: 408, 425, 429 and 5xx except 501 and 505.
      def retryable? = RETRYABLE.include?(status_code) || (server_error? && !PERMANENT.include?(status_code))

      # Seconds asked for by a 429 or 503, as a number or as a date.
      def retry_after
        RETRY_AFTER.include?(status_code) ? Types::StepHandlerCallResult.seconds(headers["retry-after"]) : nil
      end

      # The type a failure with this status has.
      def error_type = TYPES.fetch(status_code) { server_error? ? "server_error" : "client_error" }

      def to_h = { status_code:, headers:, body: }

      private

      def parsed(body)
        return body unless body.is_a?(String) && headers["content-type"].to_s.include?("json")

        JSON.parse(body)
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
        CONNECTIONS = {} # rubocop:disable Style/MutableConstant -- a cache
        LOCK = Mutex.new
        private_constant :CONNECTIONS, :LOCK

        # Put before paths; overridden by `url` of the configuration.
        def base_url = nil

        # Seconds, overridden by `timeout` of the configuration.
        def default_timeout = 30

        # Sent with every request, below those of the configuration.
        def default_headers = {}

        # The Faraday connection, shared by all attempts with the same settings; a fork makes its own.
        def connection
          settings = api_settings
          LOCK.synchronize { CONNECTIONS[[Process.pid, settings]] ||= configure_connection(settings) }
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

        def get(path, params: {}, headers: {}) = process_response(connection.get(path, params, headers))
        def post(path, data: {}, headers: {}) = send_body(:post, path, data, headers)
        def put(path, data: {}, headers: {}) = send_body(:put, path, data, headers)
        def patch(path, data: {}, headers: {}) = send_body(:patch, path, data, headers)
        def delete(path, params: {}, headers: {}) = process_response(connection.delete(path, params, headers))

        # Sends a file as the field `file` of a form.
        def api_upload_file(path, file, field: "file", content_type: "application/octet-stream", headers: {})
          boundary = "tasker-#{Process.clock_gettime(Process::CLOCK_REALTIME, :nanosecond)}"
          body = "--#{boundary}\r\nContent-Disposition: form-data; name=\"#{field}\"; " \
                 "filename=\"#{File.basename(file)}\"\r\nContent-Type: #{content_type}\r\n\r\n".b +
                 File.binread(file) + "\r\n--#{boundary}--\r\n".b
          type = { "Content-Type" => "multipart/form-data; boundary=#{boundary}" }
          process_response(connection.post(path, body, type.merge(headers)))
        end

        # Asks for page after page until one is empty or not 2xx; gives every answer. With a block, it says from an answer
        # whether there is another page.
        def api_paginated_request(path, params: {}, page_param: "page", first_page: 1, headers: {})
          answers = []
          loop do
            answer = get(path, params: params.merge(page_param => first_page + answers.size), headers:)
            answers << answer
            more = block_given? ? yield(answer) : answer.body.respond_to?(:empty?) && !answer.body.empty?
            return answers unless answer.ok? && more
          end
        end

        # @return [ApiResponse]
        def process_response(response) = ApiResponse.new(response)

        # A success with `result`, or the body; `include_response` keeps the headers as metadata.
        def api_success(response, result: nil, include_response: false)
          metadata = { status_code: response.status_code }
          metadata[:headers] = response.headers if include_response
          Types::StepHandlerCallResult.success(result: result.nil? ? response.body : result, metadata:)
        end

        # A failure that is tried again as the status says; Retry-After of a 429 or 503 is kept to.
        def api_failure(response, message: nil)
          said = message || "the server answered #{response.status_code} #{response.raw.reason_phrase}".rstrip
          body = response.body.is_a?(String) ? response.body[0, 1000].scrub : response.body
          Types::StepHandlerCallResult.error(
            message: said, error_type: response.error_type, error_code: "HTTP_#{response.status_code}",
            retryable: response.retryable?, metadata: { status_code: response.status_code, body: },
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

        def send_body(method, path, data, headers)
          text = data.is_a?(String) ? data : Serialization.dump(data, "request body")
          type = data.is_a?(String) ? {} : { "Content-Type" => "application/json" }
          process_response(connection.public_send(method, path, text, type.merge(headers)))
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
