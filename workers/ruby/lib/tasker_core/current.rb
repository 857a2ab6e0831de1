# frozen_string_literal: true

module TaskerCore
  # Which workers of this process were started and not stopped. A file of its own, so that what needs the current worker
  # need not know its class.
  module Current
    # Oldest first.
    STARTED = [] # rubocop:disable Style/MutableConstant -- it is a list of what runs
    private_constant :STARTED

    module_function

    # Remembers a worker that was started.
    def add(worker) = STARTED << worker

    # Forgets a worker that was stopped.
    def forget(worker) = STARTED.delete(worker)

    # @return [Array] every worker of this process, oldest first
    def workers = STARTED.dup

    # @return the worker that was started last; nil if all have been stopped
    def worker = STARTED.last

    # As `worker`.
    #
    # @raise [Errors::Error] no worker is running
    def worker!
      worker || raise(Errors::Error, "no worker is running in this process; " \
                                     "start one with TaskerCore::Worker::Bootstrap.start!")
    end

    # Workers take domain events only once there is someone to hear them.
    def wake = workers.each(&:hear_domain_events)
  end
end
