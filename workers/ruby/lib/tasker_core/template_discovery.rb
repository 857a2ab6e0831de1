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
      def discover_template_files(directory = nil)
        folder = directory || find_template_config_directory
        folder.nil? ? [] : Dir[File.join(folder, "**/*.{yml,yaml}")]
      end
    end

    # Reads what the SDK needs of a template; the core checks it.
    module TemplateParser
      module_function

      # `step` and `callable` of every step of a file, in order.
      def extract_handlers_from_template(path) = summary(path)["handlers"]

      # Names of the handlers a file asks for, without repetition.
      def extract_handler_callables(path) = extract_handlers_from_template(path).map { |h| h["callable"] }.uniq

      # `name namespace version description path steps` of a file.
      def extract_template_metadata(path)
        summary(path).slice("name", "namespace", "version", "description", "steps").merge("path" => path.to_s)
      end

      def summary(path)
        checked = Serialization.load(Native.validate_template(File.read(path, encoding: "UTF-8"), path.to_s, nil, false))
        return checked["template"] if checked["ok"]

        raise Errors::ConfigurationError, checked["diagnostics"].map { |d| d["text"] }.join("\n")
      end
    end

    # What the templates of a folder ask for.
    module HandlerDiscovery
      module_function

      def discover_all_handlers(directory = nil)
        TemplatePath.discover_template_files(directory).flat_map { |f| TemplateParser.extract_handler_callables(f) }.uniq
      end

      def discover_template_metadata(directory = nil)
        TemplatePath.discover_template_files(directory).map { |f| TemplateParser.extract_template_metadata(f) }
      end

      def discover_handlers_by_namespace(directory = nil)
        TemplatePath.discover_template_files(directory).each_with_object({}) do |file, spaces|
          namespace = TemplateParser.extract_template_metadata(file)["namespace"]
          spaces[namespace] = (spaces[namespace] || []) | TemplateParser.extract_handler_callables(file)
        end
      end
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
