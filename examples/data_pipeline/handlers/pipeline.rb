# frozen_string_literal: true

require "tasker_core"

# Handlers of the data pipeline; sums of money are made in whole cents.
module Pipeline
  extend TaskerCore::StepHandler::Functional

  def self.cents(amount) = (amount * 100).round(half: :even)

  step_handler "pipeline.extract" do |context|
    source = context.get_config("source")
    records = context.get_input(source)
    if records.empty?
      raise TaskerCore::Errors::ValidationError.new("the source #{source} has no records", error_code: "EMPTY_SOURCE")
    end

    { records:, count: records.size }
  end

  step_handler "pipeline.transform_sales", depends_on: { extracted: "extract_sales" } do |_context, extracted:|
    revenue = Hash.new(0)
    extracted["records"].each { |sale| revenue[sale["product"]] += sale["quantity"] * cents(sale["price"]) }
    { revenue: revenue.values.sum / 100.0,
      units: extracted["records"].sum { |sale| sale["quantity"] },
      by_product: revenue.transform_values { |amount| amount / 100.0 } }
  end

  step_handler "pipeline.transform_inventory", depends_on: { extracted: "extract_inventory" } do |_context, extracted:|
    records = extracted["records"]
    low = records.select { |item| item["stock"] <= item["reorder_at"] }
    { stock: records.sum { |item| item["stock"] }, low: low.map { |item| item["product"] } }
  end

  step_handler "pipeline.transform_customers", depends_on: { extracted: "extract_customers" } do |_context, extracted:|
    countries = extracted["records"].map { |customer| customer["country"] }.tally
    { customers: extracted["count"], by_country: countries }
  end

  step_handler "pipeline.aggregate", depends_on: { sales: "transform_sales", inventory: "transform_inventory",
                                                   customers: "transform_customers" } do |_, sales:, inventory:, customers:|
    best_seller, = sales["by_product"].min_by { |product, amount| [-amount, product] }
    { revenue: sales["revenue"],
      revenue_per_customer: cents(sales["revenue"]).fdiv(customers["customers"]).round(half: :even) / 100.0,
      units: sales["units"],
      best_seller:,
      reorder: inventory["low"].select { |product| sales["by_product"].key?(product) },
      countries: customers["by_country"].size }
  end

  step_handler "pipeline.load", depends_on: { figures: "aggregate" } do |context, figures:|
    # A warehouse that knows the key writes the row once, however often we try.
    key = "ROW-#{context.idempotency_key}"
    { table: context.get_config("table"), key:, columns: figures.keys.sort }
  end

  step_handler "pipeline.insights", depends_on: { figures: "aggregate" } do |_context, figures:|
    found = ["#{figures["best_seller"]} sells best",
             format("a customer spends %.2f", figures["revenue_per_customer"])]
    found + figures["reorder"].map { |product| "#{product} sells and runs low" }
  end
end
