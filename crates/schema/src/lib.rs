//! JSON Schema (2020-12): compiled once, then asked what in a value breaks it.
//!
//! A crate of its own because the library behind it is generic: every crate that calls it compiles a megabyte of it anew.
//! This one is compiled for size, and its face is not generic.

use serde_json::Value;

/// A compiled schema.
#[derive(Debug)]
pub struct Schema(jsonschema::Validator);

/// Something in a value that breaks a schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Where, as a JSON pointer; empty for the value itself.
    pub pointer: String,
    /// What is wrong there, in English.
    pub message: String,
}

impl Schema {
    /// Compiles a schema. Nothing is fetched: a reference to another document is an error.
    ///
    /// # Errors
    /// What makes it no valid schema, in English.
    pub fn compile(schema: &Value) -> Result<Schema, String> {
        let options = jsonschema::options().with_draft(jsonschema::Draft::Draft202012);
        options.build(schema).map(Schema).map_err(|e| e.to_string())
    }

    /// Everything in `value` that breaks the schema.
    pub fn violations(&self, value: &Value) -> Vec<Violation> {
        let errors = self.0.iter_errors(value);
        errors.map(|e| Violation { pointer: e.instance_path().to_string(), message: e.to_string() }).collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_violation_is_named_with_its_place() {
        let schema = Schema::compile(&json!({
            "type": "object", "required": ["a"], "properties": {"b": {"items": {"type": "integer"}}},
        }));
        let found = schema.expect("a schema").violations(&json!({"b": [1, "x", 2.5]}));
        let mut places: Vec<&str> = found.iter().map(|v| v.pointer.as_str()).collect();
        places.sort_unstable();
        assert_eq!(places, ["", "/b/1", "/b/2"]);
        assert!(found.iter().any(|v| v.message.contains("\"a\" is a required property")), "{found:?}");
    }

    #[test]
    fn digits_beyond_a_float_count() {
        let schema = Schema::compile(&json!({"maximum": 9_007_199_254_740_992_u64})).expect("a schema");
        assert!(schema.violations(&json!(9_007_199_254_740_992_u64)).is_empty());
        assert_eq!(schema.violations(&json!(9_007_199_254_740_993_u64)).len(), 1);
    }

    #[test]
    fn a_schema_that_is_none_is_refused_and_nothing_is_fetched() {
        assert!(Schema::compile(&json!({"type": "integr"})).is_err());
        assert!(Schema::compile(&json!({"$ref": "http://127.0.0.1:1/schema.json"})).is_err());
    }
}
