//! Schemas of enumerations that are declared in other crates.

use farrier_network::MachineType;
use farrier_update::InstallerKind;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use std::borrow::Cow;

/// The schema of [`MachineType`].
pub struct MachineTypes;

/// The schema of [`InstallerKind`].
pub struct Installers;

impl JsonSchema for MachineTypes {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "MachineType".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "enum": MachineType::ALL, "description": "A type of machine."})
    }
}

impl JsonSchema for Installers {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "InstallerKind".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "enum": InstallerKind::ALL, "description": "A kind of installer."})
    }
}
