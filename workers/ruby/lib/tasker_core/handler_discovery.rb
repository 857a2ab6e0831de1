# frozen_string_literal: true

module TaskerCore
  # Finds handlers in files and folders.
  module HandlerDiscovery
    module_function

    # Loads the Ruby files of folders or files and registers the handler classes they define.
    #
    # @param registry [Registry::HandlerRegistry] where they are registered
    # @param paths [Array<String>] files and folders
    # @return [Array<String>] what went wrong, as sentences
    def load(registry, paths)
      problems = []
      files = paths.flat_map do |path|
        found = File.directory?(path) ? Dir[File.join(path, "**/*.rb")] : [path]
        problems << "#{path}: there are no Ruby files" if found.empty?
        found.reject { |file| file.match?(%r{(_spec|_test)\.rb\z|/(spec|test)/}) && File.directory?(path) }
      end
      before = handler_classes
      files.each do |file|
        require File.expand_path(file)
      rescue StandardError, ScriptError => e
        at = e.backtrace&.find { |line| line.start_with?(File.expand_path(file)) }&.sub(/:in .*/, "")
        problems << "#{file} cannot be loaded: #{e.class}: #{e.message}#{at ? " (#{at})" : ""}; its handlers are missing"
      end
      (handler_classes - before).each { |handler| registry.register_handler(handler) if handler.handler_name }
      problems
    end

    def handler_classes = ObjectSpace.each_object(StepHandler::Base.singleton_class).reject(&:singleton_class?)
  end
end
