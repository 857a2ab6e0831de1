# frozen_string_literal: true

# Runs the whole workflow on a store in memory, in which retries take no time. Start with: rspec
require "tasker_core"
require "tasker_core/testing"
require_relative "../handlers/order"

RSpec.describe "order" do
  tea = { sku: "TEA-1", quantity: 2, price: 4.5 }
  handlers = [Shop::CheckOrder, Shop::ReserveGoods, Shop::ChargeCustomer].to_h { |h| [h.handler_name, h] }
  handlers["shop.send_receipt"] = TaskerCore::Registry::HandlerRegistry.instance.get_handler_class("shop.send_receipt")

  around do |example|
    workflows = File.expand_path("../workflows", __dir__)
    TaskerCore::Testing::Harness.open(workflows, handlers:) do |harness|
      @harness = harness
      example.run
    end
  end

  it "charges and confirms" do
    task = @harness.run("order", { customer: "Ann", items: [tea] }).assert_complete
    expect(task.result("charge_customer")["amount"]).to eq(9.0)
    expect(task.result("send_receipt")["to"]).to eq("Ann")
  end

  it "asks a bank again that does not answer" do
    task = @harness.run("order", { customer: "flaky", items: [tea] }).assert_complete
    expect(task.step("charge_customer").outcomes).to eq(%w[failed completed])
  end

  it "stops when goods are out of stock" do
    task = @harness.run("order", { customer: "Ann", items: [{ sku: "CUP-3", quantity: 1, price: 7 }] })
    expect(task.status).to eq("blocked_by_failures")
    expect(task.step("reserve_goods").error["error_code"]).to eq("OUT_OF_STOCK")
  end
end
