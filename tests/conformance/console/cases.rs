//! What is tried of each product.

use farrier::attempt::Scheme;
use farrier::drivers::HandOver;
use farrier_console_double::image::Header;
use farrier_network::MachineType;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

/// What is tried of one product.
#[derive(Clone)]
pub(crate) struct Case {
    /// The double, and the part of it whose version is shown.
    pub(crate) double: &'static str,
    pub(crate) part: &'static str,
    /// The product file, and the entry in its versions.
    pub(crate) product: &'static str,
    pub(crate) entry: &'static str,
    pub(crate) type_: MachineType,
    /// The version that is installed.
    pub(crate) version: &'static str,
    pub(crate) scheme: Scheme,
    /// How images get to it, if its user says so.
    pub(crate) hand_over: Option<HandOver>,
    /// Whether the image is a folder.
    pub(crate) folder: bool,
    /// The bay of the enclosure that it is in, if it is reached through its manager.
    pub(crate) bay: Option<u8>,
    /// Where the double and the services are.
    pub(crate) host: IpAddr,
    /// How long the device is followed after an installation began, and how much longer than that.
    pub(crate) timeout: Duration,
    pub(crate) overdue: Duration,
    /// After how long the device ends a session that nobody uses; `None`: later than a trial takes.
    pub(crate) idle: Option<Duration>,
    /// How long it may be silent; `None`: as long as other doubles.
    pub(crate) away: Option<Duration>,
    /// After how long an unknown question counts as one; `None`: as the product file has it.
    pub(crate) quiet: Option<Duration>,
    /// What is odd about the image.
    pub(crate) image: fn(&mut Header),
}

impl Case {
    /// What an image says that it is for.
    pub(crate) fn image_for(&self) -> &'static str {
        if self.double == DIRECTOR.double { FOS.double } else { self.double }
    }

    /// The same, for the whole kit: many trials at the same time take longer, and one that is too late says nothing.
    pub(crate) fn whole(self) -> Self {
        Self { timeout: Duration::from_mins(2), ..self }
    }
}

const BASE: Case = Case {
    double: "",
    part: "",
    product: "",
    entry: "",
    type_: MachineType::FCSwitch,
    version: "",
    scheme: Scheme::Sftp,
    hand_over: None,
    folder: false,
    bay: None,
    host: IpAddr::V4(Ipv4Addr::LOCALHOST),
    timeout: Duration::from_secs(15),
    overdue: Duration::from_secs(20),
    idle: None,
    away: None,
    quiet: None,
    image: |_| {},
};

/// A switch with Fabric OS, which fetches a folder.
pub(crate) const FOS: Case = Case {
    double: "fos",
    part: "fos",
    product: "brocade-fos",
    entry: "Fabric OS",
    version: "v8.2.3c",
    folder: true,
    ..BASE
};

/// A director, whose two control processors are updated by one command.
pub(crate) const DIRECTOR: Case = Case { double: "fos-director", part: "cp0", ..FOS };

/// An enclosure's Onboard Administrator, which is sent its image over HTTPS.
pub(crate) const OA: Case = Case {
    double: "oa",
    part: "oa-1",
    product: "onboard-administrator",
    entry: "Onboard Administrator",
    type_: MachineType::OnboardAdministrator,
    version: "9.90",
    scheme: Scheme::Ftp,
    ..BASE
};

/// One whose user has it fetch its image, and opens the port of FTP for that.
pub(crate) const FETCHING_OA: Case = Case { hand_over: Some(HandOver::Pull), ..OA };

/// A complex that is updated over IPv6.
pub(crate) const SUPERDOME_2: Case = Case {
    double: "superdome-2",
    part: "complex",
    product: "superdome-2",
    entry: "Complex",
    type_: MachineType::Superdome2,
    version: "3.7.99",
    host: IpAddr::V6(Ipv6Addr::LOCALHOST),
    ..BASE
};

/// A complex.
pub(crate) const SUPERDOME_X: Case = Case {
    double: "superdome-x",
    part: "complex",
    product: "superdome-x",
    entry: "Complex",
    type_: MachineType::SuperdomeX,
    version: "8.8.6",
    scheme: Scheme::Https,
    ..BASE
};

/// A switch that has place for one session, which it ends if nobody uses it.
pub(crate) const SAS: Case = Case {
    double: "sas-switch",
    part: "sas-switch",
    product: "sas-switch",
    entry: "SAS switch",
    type_: MachineType::SASSwitch,
    version: "2.2.18.0",
    scheme: Scheme::Http,
    idle: Some(Duration::from_secs(10)),
    ..BASE
};

/// One module of a Virtual Connect domain, whose manager is dialled itself.
pub(crate) const OWN_VC: Case = Case {
    double: "vc",
    part: "enc0:2",
    product: "virtual-connect",
    entry: "Virtual Connect enc0:2",
    type_: MachineType::VirtualConnect,
    version: "4.50",
    ..BASE
};

/// The manager of a Moonshot chassis.
pub(crate) const MOONSHOT: Case = Case {
    double: "moonshot",
    part: "cm",
    product: "moonshot",
    entry: "Moonshot cm",
    type_: MachineType::Moonshot,
    version: "1.60",
    scheme: Scheme::Https,
    ..BASE
};

/// All products that are told to fetch, but Fabric OS. Of a Virtual Connect domain one module is updated, and of a
/// Moonshot chassis its manager.
pub(crate) const OTHERS: [Case; 5] = [SUPERDOME_2, SUPERDOME_X, SAS, OWN_VC, MOONSHOT];
