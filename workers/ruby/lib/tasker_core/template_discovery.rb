# frozen_string_literal: true

module TaskerCore
  # Finds templates in files and folders, and what they ask for.
  module TemplateDiscovery
    # Files that mark the root of a project.
    MARKERS = %w[Gemfile .git Rakefile Cargo.toml pyproject.toml package.json].freeze

    # Where templates lie: `TASKER_TEMPLATE_PATH`, then `WORKSPACE_PATH/config/tasks`, then `config/tasks` of the
    # project's root, then `./config/tasks`.
    module TemplatePath
      module_function

      # The folder of templates, if there is one.
      def find_template_config_directory
        here = Dir.pwd
        root = here
        root = File.dirname(root) until MARKERS.any? { |m| File.exist?(File.join(root, m)) } || root == "/"
        workspace = ENV.fetch("WORKSPACE_PATH", nil)
        [ENV.fetch("TASKER_TEMPLATE_PATH", nil), workspace && File.join(workspace, "config/tasks"),
         root == "/" ? nil : File.join(root, "config/tasks"), File.join(here, "config/tasks")]
          .compact.find { |folder| File.directory?(folder) }
      end

      # All `**/*.{yml,yaml}` of a folder; of the found one when absent.
      def discover_template_files(template_dir = nil)
        folder = template_dir || find_template_config_directory
        folder.nil? ? [] : Dir[File.join(folder, "**/*.{yml,yaml}")]
      end
    end

    # Reads what the SDK needs of a template; the core checks it. What cannot be read asks for nothing.
    module TemplateParser
      module_function

      # What a template asks for: of a parsed one, the names of its handlers; of a file, `step` and `callable` of every
      # step.
      #
      # @param template [Hash, String] a parsed template, or the path of a file
      def extract_handlers_from_template(template)
        return callables(steps_of(template)).map { |handler| handler["callable"] }.uniq if template.is_a?(Hash)

        callables(steps_of(read(template) || {}))
      end

      # Names of the handlers a file asks for, without repetition.
      def extract_handler_callables(template_file)
        extract_handlers_from_template(template_file).map { |handler| handler["callable"] }.uniq
      end

      # What a file says of its template; nil if it cannot be read.
      #
      # @return [Hash, nil] `name namespace_name version description file_path handlers`, and `namespace path steps`; keys
      #   fit as symbols and as strings
      def extract_template_metadata(template_file)
        said = read(template_file)
        return nil if said.nil? || said["name"].to_s.empty?

        steps = steps_of(said)
        namespace = said["namespace_name"] || said["namespace"] || "default"
        path = template_file.to_s
        Types::Indifferent.of(
          { name: said["name"], namespace_name: namespace, namespace:, version: (said["version"] || "1.0.0").to_s,
            description: said["description"], file_path: path, path:,
            handlers: callables(steps).map { |handler| handler["callable"] }.uniq,
            steps: steps.filter_map { |step| step["name"] } }
        )
      end

      # A file as a hash with string keys; nil if it is none.
      def read(file)
        require "yaml"
        text = File.read(file.to_s, encoding: "UTF-8")
        said = YAML.safe_load(text, permitted_classes: [Date, Time, Symbol], aliases: true)
        said.is_a?(Hash) ? said.deep_stringify_keys : nil
      rescue SystemCallError, ArgumentError, Psych::Exception => e
        Logger.debug("#{file} cannot be read as a template: #{e.message}")
        nil
      end

      def steps_of(template)
        steps = template.deep_stringify_keys["steps"]
        steps.is_a?(Array) ? steps.grep(Hash) : []
      end

      def callables(steps)
        steps.filter_map do |step|
          handler = step["handler"]
          name = handler.is_a?(Hash) ? handler["callable"] : handler
          { "step" => step["name"], "callable" => name } if name.is_a?(String) && !name.empty?
        end
      end

      private_class_method :read, :steps_of, :callables
    end

    # What the templates of a folder ask for; nothing there is an empty answer.
    module HandlerDiscovery
      module_function

      # @return [Array<String>] names of handlers, without repetition
      def discover_all_handlers(template_dir = nil)
        files(template_dir).flat_map { |file| TemplateParser.extract_handler_callables(file) }.uniq
      end

      # @return [Array<Hash>] see `TemplateParser.extract_template_metadata`
      def discover_template_metadata(template_dir = nil)
        files(template_dir).filter_map { |file| TemplateParser.extract_template_metadata(file) }
      end

      # @return [Hash] names of handlers by namespace
      def discover_handlers_by_namespace(template_dir = nil)
        discover_template_metadata(template_dir).each_with_object({}) do |template, spaces|
          space = template[:namespace_name]
          spaces[space] = (spaces[space] || []) | template[:handlers]
        end
      end

      def files(template_dir) = TemplatePath.discover_template_files(template_dir)
      private_class_method :files
    end

    module_function

    # `path` and `source` of every template: of files, folders and YAML texts given, else of the found folder.
    def find_templates(given)
      return TemplatePath.discover_template_files.map { |file| template(file) } if given.nil?

      Array(given).each_with_index.flat_map do |item, index|
        text = item.to_s
        next [{ path: "template #{index + 1}", source: text }] if text.include?("\n")

        File.directory?(text) ? TemplatePath.discover_template_files(text).map { |f| template(f) } : [template(text)]
      end
    end

    def template(file)
      source = File.read(file, encoding: "UTF-8")
      raise Errors::ConfigurationError, "#{file} is not UTF-8 text" unless source.valid_encoding?

      { path: file.to_s, source: }
    end
  end
end
