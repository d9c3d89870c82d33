//! The double as a program: it prints where it serves, and serves until it is ended.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use farrier_console_double::image::Header;
use farrier_console_double::{Algorithms, Config, Double, Product, Settings, SignIn};
use farrier_double_parts::program::until_ended;

/// A double of devices with a command line.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serves one device; the first line on standard output is a JSON object with its addresses.
    Serve(Serve),
    /// Writes an image.
    Image(Image),
}

#[derive(Debug, clap::Args)]
struct Serve {
    /// fos, oa, moonshot, superdome-x, superdome-2, vc, sas-switch
    #[arg(long)]
    product: String,
    /// Images may be for certain models only.
    #[arg(long, default_value = "")]
    model: String,
    #[arg(long, default_value = "127.0.0.1")]
    address: IpAddr,
    /// Of an oa: the standby module's.
    #[arg(long)]
    standby_address: Option<IpAddr>,
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// Of an oa.
    #[arg(long, default_value_t = 0)]
    https_port: u16,
    #[arg(long, default_value = "127.0.0.1:0")]
    control: SocketAddr,
    #[arg(long, default_value = "admin")]
    user: String,
    #[arg(long, default_value = "password")]
    password: String,
    /// Only SHA-1, CBC and a short RSA key, as devices of 2008 have them.
    #[arg(long)]
    legacy_algorithms: bool,
    /// any, password, interactive
    #[arg(long, default_value = "any")]
    sign_in: String,
    /// A private key in OpenSSH's format; without it there are new ones at each start.
    #[arg(long)]
    host_key: Option<PathBuf>,
    /// What is in a bay of an enclosure: `BAY=PRODUCT[:USER:PASSWORD[@ADDRESS]]`; with an address it has
    /// the same port of SSH there, otherwise any.
    #[arg(long = "interconnect")]
    interconnects: Vec<String>,
    /// JSON object, see the README.
    #[arg(long, default_value = "{}")]
    settings: String,
}

#[derive(Debug, clap::Args)]
struct Image {
    /// What takes it, as in `serve`.
    #[arg(long)]
    product: String,
    #[arg(long)]
    version: String,
    /// Only for this model.
    #[arg(long = "model")]
    models: Vec<String>,
    /// Only from this version.
    #[arg(long = "from")]
    from: Vec<String>,
    #[arg(long, default_value_t = 4096)]
    payload_bytes: u64,
    #[arg(long)]
    bad_signature: bool,
    #[arg(long)]
    breaks_at_percent: Option<u8>,
    /// FILE is a folder: `release.plist` and the packages that it names.
    #[arg(long)]
    tree: bool,
    file: PathBuf,
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().command {
        Command::Serve(serve) => tokio::runtime::Runtime::new()?.block_on(run(serve)),
        Command::Image(image) => write(image),
    }
}

async fn run(serve: Serve) -> anyhow::Result<()> {
    let settings: Settings = serde_json::from_str(&serve.settings).context("read --settings")?;
    let sign_in = match serve.sign_in.as_str() {
        "any" => SignIn::Any,
        "password" => SignIn::Password,
        "interactive" => SignIn::Interactive,
        other => anyhow::bail!("--sign-in is any, password or interactive, not {other}"),
    };
    let host_key = match &serve.host_key {
        Some(file) => std::fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?,
        None => String::new(),
    };
    let interconnects = serve.interconnects.iter().map(|text| interconnect(text, &serve, &settings));
    let config = Config {
        interconnects: interconnects.collect::<anyhow::Result<_>>()?,
        product: Product::named(&serve.product)?,
        model: serve.model,
        address: serve.address,
        standby_address: serve.standby_address,
        port: serve.port,
        https_port: serve.https_port,
        control: serve.control,
        user: serve.user,
        password: serve.password,
        algorithms: if serve.legacy_algorithms { Algorithms::Legacy } else { Algorithms::Modern },
        sign_in,
        host_key,
        settings,
    };
    let double = Double::start(config).await?;
    until_ended(&double.describe()).await
}

/// Reads `BAY=PRODUCT[:USER:PASSWORD[@ADDRESS]]`.
fn interconnect(text: &str, serve: &Serve, settings: &Settings) -> anyhow::Result<(u8, Config)> {
    let how = "--interconnect is BAY=PRODUCT[:USER:PASSWORD[@ADDRESS]]";
    let (bay, rest) = text.split_once('=').context(how)?;
    let (rest, address) = rest.rsplit_once('@').unwrap_or((rest, ""));
    let (product, login) = rest.split_once(':').unwrap_or((rest, ""));
    let product = Product::named(product)?;
    let mut config = Config { address: serve.address, settings: settings.clone(), ..Config::new(product) };
    if let Some((user, password)) = login.split_once(':') {
        (config.user, config.password) = (user.to_owned(), password.to_owned());
    }
    if !address.is_empty() {
        (config.address, config.port) = (address.parse().context(how)?, serve.port);
    }
    Ok((bay.parse().context("read the number of the bay")?, config))
}

fn write(image: Image) -> anyhow::Result<()> {
    let header = Header {
        product: image.product,
        version: image.version,
        models: image.models,
        from: image.from,
        payload_bytes: image.payload_bytes,
        bad_signature: image.bad_signature,
        breaks_at_percent: image.breaks_at_percent,
    };
    let bytes = header.to_file();
    if image.tree {
        return write_tree(&image.file, &bytes).with_context(|| format!("write {}", image.file.display()));
    }
    std::fs::write(&image.file, bytes).with_context(|| format!("write {}", image.file.display()))
}

/// Some packages and the list of them.
fn write_tree(folder: &Path, bytes: &[u8]) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)?;
    let mut list = String::new();
    for (number, package) in bytes.chunks(bytes.len().div_ceil(3).max(1)).enumerate() {
        let name = format!("package-{number}.rpm");
        std::fs::write(folder.join(&name), package)?;
        list = list + &name + "\n";
    }
    std::fs::write(folder.join("release.plist"), list)
}
