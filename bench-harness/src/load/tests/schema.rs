//! The report agrees with the schema that is shipped: as much of JSON Schema as the file uses.

use std::time::Duration;

use serde_json::Value;

use crate::load::{Floors, Loop, Pacing, Plan, Quantiles, SCHEMA, run};
use crate::responder::{Responder, ResponderOptions};

fn check(value: &Value, schema: &Value, path: &str) -> Result<(), String> {
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_u64() => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let fits = |name: &Value| name == kind || (name == "number" && kind == "integer");
    let names = schema["type"].as_array();
    let is_typed = names.map_or_else(|| fits(&schema["type"]), |names| names.iter().any(fits));
    if !is_typed {
        return Err(format!("{path} is a {kind}, not {}", schema["type"]));
    }
    if let Some(names) = schema["enum"].as_array()
        && !names.contains(value)
    {
        return Err(format!("{path} is {value}, not one of {names:?}"));
    }
    if !schema["const"].is_null() && schema["const"] != *value {
        return Err(format!("{path} is {value}"));
    }
    for (index, item) in value.as_array().into_iter().flatten().enumerate() {
        check(item, &schema["items"], &format!("{path}[{index}]"))?;
    }
    let Some(fields) = value.as_object() else {
        return Ok(());
    };
    for name in schema["required"].as_array().into_iter().flatten() {
        let name = name.as_str().unwrap();
        if !fields.contains_key(name) {
            return Err(format!("{path}.{name} is missing"));
        }
    }
    for (name, field) in fields {
        let Some(inner) = schema["properties"].get(name) else {
            return Err(format!("{path}.{name} is not in the schema"));
        };
        check(field, inner, &format!("{path}.{name}"))?;
    }
    Ok(())
}

#[test]
fn the_json_of_a_report_agrees_with_the_schema() {
    let schema: Value = serde_json::from_str(SCHEMA).unwrap();
    let responder = Responder::start(ResponderOptions::default()).unwrap();
    for mode in [Loop::Open { per_second: 1_000 }, Loop::Closed] {
        let plan = Plan {
            mode,
            pacing: Pacing::Sleep,
            warm_up: Duration::ZERO,
            duration: Duration::from_millis(100),
            ..Plan::new(responder.address(), 1)
        };
        let mut report = run(&plan).unwrap();
        let mut value = serde_json::to_value(&report).unwrap();
        check(&value, &schema, "report").unwrap();
        report.floors = Some(Floors {
            echo: Quantiles::default(),
            commit: Some(Quantiles::default()),
        });
        let with_floors = serde_json::to_value(&report).unwrap();
        check(&with_floors, &schema, "report").unwrap();
        value["account"]["lost"] = Value::from("none");
        let error = check(&value, &schema, "report").unwrap_err();
        assert_eq!(error, "report.account.lost is a string, not \"integer\"");
    }
}
