//! The last look: is anything of ours still there?

use super::probe::unusable;
use super::script::{END, as_user, between, one_line};
use super::{Machine, PLACES, directory};
use crate::failure::Failure;
use bytes::Bytes;
use std::time::Duration;

/// How long the look may take.
const LIMIT: Duration = Duration::from_secs(20);

/// What the last look found: paths and processes that are ours. Empty: nothing.
pub type Look = Vec<String>;

impl Machine {
    /// Looks for our directory in every place and for processes that carry its name.
    ///
    /// # Errors
    /// `ShellUnusable`, `ConnectionLost`: then nothing is known, which is not the same as clean.
    pub async fn look(&self) -> Result<Look, Failure> {
        let name = directory(&self.id);
        // A process that has just ended may take a moment to go: asked for three times at most.
        let script = one_line(&format!(
            "for n in 1 2 3; do
               f=;
               for b in {PLACES}; do [ -e $b/{name} ] && f=\"$f $b/{name}\"; done;
               for p in /proc/[0-9]*; do
                 read -r c 2>/dev/null < $p/cmdline; case \"$c\" in */{name}/*) f=\"$f process:${{p#/proc/}}\";; esac; c=;
               done;
               [ -z \"$f\" ] && break; [ $n = 3 ] || sleep 1;
             done;
             for x in $f; do echo left $x; done; echo {END};"
        ));
        let output = self.connection.run(&as_user(), vec![Bytes::from(script)], LIMIT).await?;
        let lines = between(&output.stdout).ok_or_else(|| unusable(self, &output))?;
        Ok(lines.iter().filter_map(|l| l.strip_prefix("left ")).map(str::to_owned).collect())
    }
}
