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
            ("POST", "/bmc/reset") => self.reset_bmc().await,
            ("POST", "/host/reset") => {
                self.reset_host(body["ResetType"].as_str().unwrap_or("ForceRestart")).await;
            }
            _ => return Ok(None),
        }
        Ok(Some(json!({})))
    }
}
