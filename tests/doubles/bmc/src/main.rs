//! The double as a program: it prints where it serves, and serves until it is ended.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use farrier_bmc_double::image::{Header, Target, compsig};
use farrier_bmc_double::{Config, Double, Settings, Variant};
use farrier_double_parts::program::until_ended;

/// A double of baseboard management controllers.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serves one BMC; the first line on standard output is a JSON object with its addresses.
    Serve(Serve),
    /// Writes an image.
    Image(Image),
}

#[derive(Debug, clap::Args)]
struct Serve {
    /// ilo5, ilo6, idrac9, superdome-flex, openbmc, lenovo-xcc, cisco-cimc, moonshot, minimal
    #[arg(long)]
    variant: String,
    /// A variant of one's own, as JSON; instead of --variant's.
    #[arg(long)]
    variant_file: Option<PathBuf>,
    #[arg(long, default_value = "127.0.0.1")]
    address: IpAddr,
    #[arg(long, default_value_t = 0)]
    https_port: u16,
    #[arg(long, default_value_t = 0)]
    http_port: u16,
    #[arg(long, default_value = "127.0.0.1:0")]
    control: SocketAddr,
    #[arg(long, default_value = "admin")]
    user: String,
    #[arg(long, default_value = "password")]
    password: String,
    /// One more name or address in the certificate.
    #[arg(long = "name")]
    names: Vec<String>,
    /// JSON object, see the README.
    #[arg(long, default_value = "{}")]
    settings: String,
}

#[derive(Debug, clap::Args)]
struct Image {
    /// DEVICE=VERSION, once for each device.
    #[arg(long = "target", required = true)]
    targets: Vec<String>,
    /// Only for this model.
    #[arg(long = "model")]
    models: Vec<String>,
    #[arg(long, default_value_t = 4096)]
    payload_bytes: u64,
    #[arg(long)]
    bad_signature: bool,
    #[arg(long)]
    breaks_at_percent: Option<u8>,
    /// It needs a signature file, which is written beside it as FILE.compsig.
    #[arg(long)]
    needs_compsig: bool,
    /// Bmc, Uefi or `RuntimeAgent`
    #[arg(long = "updatable-by")]
    updatable_by: Vec<String>,
    file: PathBuf,
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().command {
        Command::Serve(serve) => tokio::runtime::Runtime::new()?.block_on(run(serve)),
        Command::Image(image) => write(image),
    }
}

async fn run(serve: Serve) -> anyhow::Result<()> {
    let variant = match &serve.variant_file {
        Some(file) => Variant::of_file(file)?,
        None => Variant::named(&serve.variant)?,
    };
    let settings: Settings = serde_json::from_str(&serve.settings).context("read --settings")?;
    let config = Config {
        variant,
        address: serve.address,
        https_port: serve.https_port,
        http_port: serve.http_port,
        control: serve.control,
        user: serve.user,
        password: serve.password,
        names: serve.names,
        settings,
    };
    let double = Double::start(config).await?;
    until_ended(&double.describe()).await
}

fn write(image: Image) -> anyhow::Result<()> {
    let target = |text: &String| {
        let (device, version) = text.split_once('=').context("--target is DEVICE=VERSION")?;
        anyhow::Ok(Target { device: device.to_owned(), version: version.to_owned() })
    };
    let header = Header {
        targets: image.targets.iter().map(target).collect::<anyhow::Result<_>>()?,
        models: image.models,
        payload_bytes: image.payload_bytes,
        bad_signature: image.bad_signature,
        breaks_at_percent: image.breaks_at_percent,
        needs_compsig: image.needs_compsig,
        updatable_by: image.updatable_by,
    };
    let file = header.to_file();
    if header.needs_compsig {
        std::fs::write(image.file.with_extension("compsig"), compsig(&file))?;
    }
    std::fs::write(&image.file, file).with_context(|| format!("write {}", image.file.display()))
}
