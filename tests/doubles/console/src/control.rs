//! What the control API has of this double.

use farrier_double_parts::control::Controlled;
use farrier_double_parts::journal::Entry;
use serde_json::{Value, json};

use crate::fault::{Armed, Fault};
use crate::{Double, Settings};

impl Controlled for Double {
    type Fault = Fault;
    type Settings = Settings;

    fn describe(&self) -> Value {
        Self::describe(self)
    }

    fn state(&self) -> Value {
        Self::state(self)
    }

    fn journal_since(&self, number: u64) -> Vec<Entry> {
        Self::journal_since(self, number)
    }

    fn forget_journal(&self) {
        Self::forget_journal(self);
    }

    fn armed(&self) -> Vec<Armed> {
        Self::armed(self)
    }

    fn arm(&self, armed: Armed) -> anyhow::Result<()> {
        Self::arm(self, armed)
    }

    fn clear(&self, name: Option<&str>) {
        Self::clear(self, name);
    }

    fn settings(&self) -> Settings {
        Self::settings(self)
    }

    fn set(&self, settings: Settings) {
        Self::set(self, settings);
    }

    async fn other(&self, method: &str, path: &str, body: &Value) -> anyhow::Result<Option<Value>> {
        match (method, path) {
            ("POST", "/reboot") => {
                self.reboot().await;
                Ok(Some(json!({})))
            }
            ("PATCH", "/versions") => {
                for (part, version) in body.as_object().into_iter().flatten() {
                    self.set_version(part, version.as_str().unwrap_or_default())?;
                }
                Ok(Some(self.state()))
            }
            _ => Ok(None),
        }
    }
}
