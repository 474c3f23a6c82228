//! The report agrees with the schema that is shipped.

use std::time::Duration;

use serde_json::Value;

use crate::load::{Floors, Loop, Pacing, Plan, Quantiles, SCHEMA, run};
use crate::responder::{Responder, ResponderOptions};
use crate::schema::check;

#[test]
fn the_json_of_a_report_agrees_with_the_schema() {
    let schema: Value = serde_json::from_str(SCHEMA).unwrap();
    let responder = Responder::start(ResponderOptions::default()).unwrap();
    for mode in [
        Loop::Open { per_second: 1_000 },
        Loop::Closed,
        Loop::Backlog { messages: 100 },
    ] {
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
