//! A log line as one flat JSON object.
//!
//! The library's own format keeps the fields of spans in a separate list, so that selecting all lines
//! of a machine would need a program. Here the fields are at the top level: `jq 'select(.node ==
//! "db-01")'`.

use serde::Serialize;
use serde_json::{Map, Value};
use std::fmt;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::{JsonFields, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormattedFields};
use tracing_subscriber::registry::{LookupSpan, Scope};

/// Formats log lines as flat JSON.
pub(super) struct Json;

#[derive(Serialize)]
struct Line<'a> {
    timestamp: String,
    level: &'static str,
    message: Value,
    #[serde(flatten)]
    fields: Map<String, Value>,
    target: &'a str,
}

/// Top-level keys of every line; a field of the same name would make the object ambiguous.
const TAKEN: [&str; 4] = ["timestamp", "level", "message", "target"];

/// Prefix of the fields that `tracing-log` adds to lines of libraries that use `log`; one of them is a
/// source path on the build machine.
const OF_LIBRARIES: &str = "log.";

/// The field with the real origin of such a line.
const TARGET_OF_LIBRARY: &str = "log.target";

impl<S> FormatEvent<S, JsonFields> for Json
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, JsonFields>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut fields = Fields::default();
        // From the outermost span inward: the innermost value wins.
        for span in context.event_scope().into_iter().flat_map(Scope::from_root) {
            let extensions = span.extensions();
            let Some(of_span) = extensions.get::<FormattedFields<JsonFields>>() else { continue };
            if let Ok(of_span) = serde_json::from_str::<Map<String, Value>>(&of_span.fields) {
                fields.0.extend(of_span);
            }
        }
        event.record(&mut fields);
        let message = fields.0.remove("message").unwrap_or_default();
        let meta = event.metadata();
        let of_library = fields.0.remove(TARGET_OF_LIBRARY);
        let target = of_library.as_ref().and_then(Value::as_str).unwrap_or(meta.target());
        let line = Line {
            timestamp: jiff::Timestamp::now().to_string(),
            level: meta.level().as_str(),
            message,
            fields: fields.0.into_iter().filter(|(name, _)| wanted(name)).collect(),
            target,
        };
        let text = serde_json::to_string(&line).map_err(|_| fmt::Error)?;
        writeln!(writer, "{text}")
    }
}

fn wanted(name: &str) -> bool {
    !TAKEN.contains(&name) && !name.starts_with(OF_LIBRARIES)
}

/// The fields of a line.
#[derive(Default)]
struct Fields(Map<String, Value>);

impl Fields {
    fn set(&mut self, field: &Field, value: impl Into<Value>) {
        self.0.insert(field.name().to_owned(), value.into());
    }
}

impl Visit for Fields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.set(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.set(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.set(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.set(field, value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.set(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.set(field, format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::sync::{Arc, Mutex};
    use tracing_subscriber::fmt::MakeWriter;

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    impl<'a> MakeWriter<'a> for Kept {
        type Writer = Self;

        fn make_writer(&'a self) -> Self {
            self.clone()
        }
    }

    fn logged(work: impl FnOnce()) -> Vec<Value> {
        let kept = Kept::default();
        let subscriber = tracing_subscriber::fmt()
            .fmt_fields(JsonFields::new())
            .event_format(Json)
            .with_writer(kept.clone())
            .finish();
        tracing::subscriber::with_default(subscriber, work);
        let bytes = kept.0.lock().unwrap().clone();
        let text = String::from_utf8(bytes).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// A user who filters the log of a thousand machines by one field must find every line of the
    /// machine.
    #[test]
    fn fields_of_spans_are_at_the_top_level_of_each_line() {
        let lines = logged(|| {
            let task =
                tracing::info_span!("node_update", namespace = Some("fleet"), run = "r12", node = "db-01");
            let _task = task.enter();
            let attempt = tracing::info_span!("attempt", attempt = 2_u32);
            let _attempt = attempt.enter();
            tracing::info!(reason = %farrier_update::Reason::ConnectionLost, seconds = 1.5, "not back yet\nat all");
            // A line's own field overrides the field of the enclosing span.
            tracing::warn!(node = "db-02", target = "confusing", "claimed");
            tracing::error!(
                log.target = "rustls",
                log.file = "/build/rustls.rs",
                log.line = 1,
                "unknown issuer"
            );
        });
        assert_eq!(lines.len(), 3);
        assert_eq!((&lines[2]["target"], &lines[2]["node"]), (&Value::from("rustls"), &Value::from("db-01")));
        assert!(lines[2].get("log.file").is_none(), "{}", lines[2]);
        let first = lines[0].as_object().unwrap();
        assert_eq!(first["message"], "not back yet\nat all");
        assert_eq!((&first["node"], &first["run"]), (&Value::from("db-01"), &Value::from("r12")));
        assert_eq!((&first["namespace"], &first["attempt"]), (&Value::from("fleet"), &Value::from(2)));
        assert_eq!(
            (&first["reason"], &first["seconds"]),
            (&Value::from("ConnectionLost"), &Value::from(1.5))
        );
        assert_eq!(first["level"], "INFO");
        assert!(first["timestamp"].as_str().unwrap().parse::<jiff::Timestamp>().is_ok());
        assert_eq!(lines[1]["node"], "db-02");
        assert_eq!(lines[1]["target"], module_path!());
    }
}
