# frozen_string_literal: true

module TaskerCore
  # Finds handlers in files and folders.
  module HandlerDiscovery
    # Tests beside handlers are no handlers; a folder of tests that was named itself is.
    TESTS = %r{(\A|/)(spec|test|tests)/|(_spec|_test)\.rb\z}
    private_constant :TESTS

    module_function

    # Loads the Ruby files of folders or files and registers the handler classes that lie in them, also those that were
    # loaded before.
    #
    # @param registry [Registry::HandlerRegistry] where they are registered
    # @param paths [Array<String>] files and folders
    # @return [Array<String>] what went wrong, as sentences
    def load(registry, paths)
      problems = []
      before = registry.handlers
      files = paths.flat_map { |path| files_of(path.to_s, problems) }.uniq
      files.each do |file|
        require file
      rescue StandardError, ScriptError => e
        at = e.backtrace&.find { |line| line.start_with?(file) }&.sub(/:in .*/, "")
        problems << "#{file} cannot be loaded: #{e.class}: #{e.message}#{at ? " (#{at})" : ""}; its handlers are missing"
      end
      here = StepHandler::Base.loaded.select { |handler| within?(handler, files, paths) }
      problems.concat(register(registry, here))
      nothing = !files.empty? && here.empty? && registry.handlers == before && problems.empty?
      nothing ? problems << "0 handlers found in #{paths.join(", ")}" : problems
    end

    # Registers handler classes under their names.
    #
    # @return [Array<String>] what went wrong, as sentences
    def register(registry, classes)
      classes.group_by { |handler| StepHandler::Base.name_of(handler) }.filter_map do |name, all|
        next if name.nil?

        # A class that inherits the name of its parent does not take its place.
        all = all.reject { |handler| all.include?(handler.superclass) } if all.size > 1
        named = all.select(&:name)
        registry.register_handler(name, all.last)
        next if named.size < 2

        "the handler name `#{name}` is that of #{named.map(&:name).join(" and ")}; #{all.last.name} has it, " \
          "the others only answer to their constants"
      end
    end

    def files_of(path, problems)
      unless File.directory?(path)
        problems << "#{path}: there is no such file or folder" unless File.file?(path)
        return File.file?(path) ? [File.realpath(path)] : []
      end

      root = File.realpath(path)
      found = Dir[File.join(root, "**/*.rb")]
      tests, found = found.partition { |file| file.delete_prefix("#{root}/").match?(TESTS) }
      left_out = "#{tests.size} files of tests were left out, such as #{tests.first}" unless tests.empty?
      if found.empty?
        problems << ["0 handlers found in #{path}: there are no Ruby files", left_out].compact.join("; ")
      elsif left_out
        Logger.info("#{path}: #{left_out}")
      end
      found
    end

    # Whether a class was written in one of the files, or below one of the folders.
    def within?(handler, files, paths)
      file = StepHandler::Base.file_of(handler)
      return false if file.nil?

      real = File.exist?(file) ? File.realpath(file) : file
      files.include?(real) || paths.any? { |path| File.directory?(path) && real.start_with?("#{File.realpath(path)}/") }
    end

    private_class_method :files_of, :within?
  end
end
