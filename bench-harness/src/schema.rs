//! As much of JSON Schema as the files in `schema/` use.

use serde_json::Value;

/// What in `value` the schema does not allow, if anything; `path` is where it is.
pub(crate) fn check(value: &Value, schema: &Value, path: &str) -> Result<(), String> {
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
