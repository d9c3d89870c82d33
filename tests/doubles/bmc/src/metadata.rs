//! `$metadata`: which schemas the resources follow.

/// Schema and version of what `tree`, `service` and `task` make.
const SCHEMAS: &[(&str, &str)] = &[
    ("ServiceRoot", "v1_5_0"),
    ("ComputerSystem", "v1_13_0"),
    ("Manager", "v1_9_0"),
    ("ManagerNetworkProtocol", "v1_5_0"),
    ("Chassis", "v1_14_0"),
    ("UpdateService", "v1_9_0"),
    ("SoftwareInventory", "v1_4_0"),
    ("SessionService", "v1_1_8"),
    ("Session", "v1_4_0"),
    ("AccountService", "v1_7_0"),
    ("ManagerAccount", "v1_4_0"),
    ("Role", "v1_3_0"),
    ("EventService", "v1_7_0"),
    ("EventDestination", "v1_9_0"),
    ("TaskService", "v1_1_5"),
    ("Task", "v1_5_0"),
    ("JobService", "v1_0_4"),
    ("Job", "v1_0_7"),
    ("Message", "v1_1_2"),
    ("Settings", "v1_3_0"),
    ("Certificate", "v1_5_0"),
    ("ActionInfo", "v1_1_0"),
];

const COLLECTIONS: &[&str] = &[
    "ComputerSystemCollection",
    "ManagerCollection",
    "ChassisCollection",
    "SoftwareInventoryCollection",
    "SessionCollection",
    "ManagerAccountCollection",
    "RoleCollection",
    "EventDestinationCollection",
    "TaskCollection",
    "JobCollection",
    "CertificateCollection",
    "JsonSchemaFileCollection",
    "MessageRegistryFileCollection",
];

pub(crate) fn document() -> String {
    let mut text = String::from(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <edmx:Edmx xmlns:edmx=\"http://docs.oasis-open.org/odata/ns/edmx\" Version=\"4.0\">\n",
    );
    let at = "http://redfish.dmtf.org/schemas/v1";
    for (schema, version) in SCHEMAS {
        include(&mut text, &format!("{at}/{schema}_v1.xml"), &[schema, &format!("{schema}.{version}")]);
    }
    for schema in COLLECTIONS {
        include(&mut text, &format!("{at}/{schema}_v1.xml"), &[schema]);
    }
    include(&mut text, &format!("{at}/RedfishExtensions_v1.xml"), &["RedfishExtensions.v1_0_0"]);
    text.push_str(
        "<edmx:DataServices><Schema xmlns=\"http://docs.oasis-open.org/odata/ns/edm\" Namespace=\"Service\">\n\
         <EntityContainer Name=\"Service\" Extends=\"ServiceRoot.v1_5_0.ServiceContainer\"/>\n\
         </Schema></edmx:DataServices>\n</edmx:Edmx>\n",
    );
    text
}

fn include(text: &mut String, uri: &str, namespaces: &[&str]) {
    for piece in ["<edmx:Reference Uri=\"", uri, "\">\n"] {
        text.push_str(piece);
    }
    for namespace in namespaces {
        for piece in ["<edmx:Include Namespace=\"", namespace, "\"/>\n"] {
            text.push_str(piece);
        }
    }
    text.push_str("</edmx:Reference>\n");
}
