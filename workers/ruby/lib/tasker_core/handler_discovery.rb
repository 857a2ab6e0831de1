# frozen_string_literal: true

module TaskerCore
  # Finds handlers in files and folders.
  module HandlerDiscovery
    # Folders of tests beside handlers; one that was named itself is a folder of handlers.
    TESTS = %r{\A(?:.*/)?(?:spec|tests)(?=/)}
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
      # A script may even end its process when it is loaded.
      rescue StandardError, ScriptError, SystemExit, SystemStackError => e
        at = e.backtrace&.find { |line| line.start_with?(file) }&.sub(/:in .*/, "")
        problems << "#{file} cannot be loaded: #{e.class}: #{e.message}#{at ? " (#{at})" : ""}; its handlers are missing"
      end
      here = StepHandler::Base.loaded.select { |handler| within?(handler, files, paths) }
      problems.concat(register(registry, here))
      nothing = !files.empty? && here.empty? && registry.handlers == before && problems.empty?
      nothing ? problems << "0 handlers found in #{paths.join(", ")}" : problems
    end

    # Registers handler classes under their names. What a program registered itself stays.
    #
    # @return [Array<String>] what went wrong, as sentences
    def register(registry, classes)
      classes.group_by { |handler| StepHandler::Base.name_of(handler) }.filter_map do |name, all|
        known = registry.handlers[name]
        next if name.nil? || !(known.nil? || all.include?(known) || registry.found[name].equal?(known))

        # A subclass that has its parent's name is meant to stand in its place.
        heads = all.reject { |handler| all.any? { |other| other < handler } }
        named = heads.select(&:name)
        # Blocks without a constant: the one written last is the one that was meant.
        registry.found[name] = named.first || heads.last
        registry.register_handler(name, registry.found[name])
        next if named.size < 2

        "two handlers have one name: `#{name}` is both #{named.map(&:name).join(" and ")}; #{named.first.name} has it, " \
          "the others only answer to their constants"
      end
    end

    def files_of(path, problems)
      unless File.directory?(path)
        problems << "#{path}: there is no such file or folder" unless File.file?(path)
        return File.file?(path) ? [File.realpath(path)] : []
      end

      root = File.realpath(path)
      tests, found = Dir[File.join(root, "**/*.rb")].partition { |file| TESTS.match?(file.delete_prefix("#{root}/")) }
      tests.map { |file| file.delete_prefix("#{root}/")[TESTS] }.uniq.each do |folder|
        warn "tasker: #{File.join(root, folder)} is left out: it holds tests, not handlers"
      end
      problems << "0 handlers found in #{path}: there are no Ruby files" if found.empty?
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
