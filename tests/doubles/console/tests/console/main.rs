//! The doubles from outside: by SSH, with images from real servers.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![expect(clippy::panic, reason = "a test that cannot go on fails")]

mod director;
mod faults;
mod lines;
mod person;
mod products;
mod shelf;
mod web;

use farrier_console_double::image::Header;
use farrier_console_double::{Config, Double, Product, Settings};

/// A double that takes little time.
async fn start(product: &str, change: impl FnOnce(&mut Config)) -> Double {
    let mut config = Config::new(Product::named(product).unwrap());
    config.settings = Settings { flash_ms: 200, reboot_ms: 200, commit_ms: 100, ..Settings::default() };
    change(&mut config);
    Double::start(config).await.unwrap()
}

/// An image with a version that no double begins with.
fn image(product: &str) -> Vec<u8> {
    Header::new(product, "9.9").to_file()
}
