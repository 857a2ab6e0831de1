# frozen_string_literal: true

require "date"
require "monitor"
require "active_support/version"
# Its later versions cannot be loaded piece by piece before their head.
require "active_support" if ActiveSupport::VERSION::MAJOR >= 7
# What is small is loaded at once; the times and what else is dear follow with the first handler, client or worker, or
# when one of the names below is first used.
%w[
  array/access array/extract array/extract_options array/grouping array/inquiry array/wrap class/attribute
  class/subclasses enumerable hash/deep_merge hash/deep_transform_values hash/except hash/indifferent_access hash/keys
  hash/reverse_merge hash/slice integer/multiple kernel/reporting module/attribute_accessors module/delegation
  numeric/bytes object/acts_like object/blank object/deep_dup object/inclusion object/instance_variables object/to_query
  object/try object/with_options securerandom string/access string/exclude string/filters string/indent
  string/inflections string/inquiry string/starts_ends_with string/strip symbol/starts_ends_with
].each { |name| require "active_support/core_ext/#{name}" }
require_relative "younger_enumerable"

module TaskerCore
  # ActiveSupport's extensions of the core classes, which handlers may use as soon as the library is required.
  module CoreExt
    # What times and dates have in common.
    MOMENTS = %i[ago since in advance change in_time_zone beginning_of_day end_of_day beginning_of_week end_of_week
                 beginning_of_month end_of_month beginning_of_quarter end_of_quarter beginning_of_year end_of_year
                 beginning_of_hour end_of_hour beginning_of_minute end_of_minute midnight noon tomorrow yesterday today?
                 tomorrow? yesterday? past? future? before? after? all_day all_week all_month all_quarter all_year
                 next_week prev_week next_quarter prev_quarter last_week last_month last_year on_weekend? on_weekday?
                 days_ago days_since weeks_ago weeks_since months_ago months_since years_ago years_since
                 seconds_since_midnight to_formatted_s to_fs].freeze
    # Methods that load the rest when they are first called, by the class or object that has them.
    LATE = {
      Integer => %i[months years month year ordinal ordinalize],
      Numeric => %i[seconds second minutes minute hours hour days day weeks week fortnights fortnight in_milliseconds
                    to_formatted_s to_fs],
      Time.singleton_class => %i[current zone zone= use_zone find_zone find_zone!],
      Time => MOMENTS + %i[next_month prev_month next_year prev_year next_day prev_day],
      Date.singleton_class => %i[current yesterday tomorrow beginning_of_week],
      Date => MOMENTS,
      DateTime.singleton_class => %i[current],
      String => %i[in_time_zone to_time to_date to_datetime html_safe mb_chars],
      Array => %i[to_sentence to_xml to_formatted_s to_fs],
      Hash => %i[to_xml],
      Hash.singleton_class => %i[from_xml from_trusted_xml],
      Object => %i[as_json html_safe?],
      NameError => %i[missing_name missing_name?],
      Range => %i[overlaps? overlap? to_formatted_s to_fs],
      Module => %i[concerning delegate_missing_to attr_internal attr_internal_reader attr_internal_writer
                   attr_internal_accessor alias_attribute thread_mattr_accessor thread_cattr_accessor]
    }.freeze
    LOCK = Monitor.new
    private_constant :LOCK

    module_function

    # Loads all of ActiveSupport's extensions; does nothing the second time.
    def load_all
      LOCK.synchronize do
        next if @loaded

        @loaded = true
        LATE.each do |owner, names|
          names.each { |name| owner.remove_method(name) if late?(owner, name) }
        end
        require "active_support"
        require "active_support/core_ext"
        require "tasker_core/compat/younger_core_ext"
      end
    end

    # Whether a class still has the stand-in of a method.
    def late?(owner, name)
      owner.method_defined?(name, false) && owner.instance_method(name).source_location&.first == __FILE__
    end

    LATE.each do |owner, names|
      names.each do |name|
        next if owner.method_defined?(name) || owner.private_method_defined?(name)

        owner.define_method(name) do |*arguments, **keywords, &block|
          CoreExt.load_all
          public_send(name, *arguments, **keywords, &block)
        end
      end
    end
  end
end
