"""Judges one double as OpenStack's library sees it: resources, and an update where it knows a way.

Prints one line for each thing that is not as it should be.
"""

import sys
import time

import sushy
import sushy.auth


def main(url: str, authority: str, variant: str, image: str, device: str, version: str) -> None:
    user, password = sys.argv[7:9]
    kind = sushy.auth.BasicAuth if variant == "minimal" else sushy.auth.SessionAuth
    root = sushy.Sushy(url, verify=authority, auth=kind(username=user, password=password))
    system = root.get_system_collection().get_members()[0]
    manager = root.get_manager_collection().get_members()[0]
    chassis = root.get_chassis_collection().get_members()[0]
    for what, found in (
        ("power", system.power_state == sushy.PowerState.ON),
        ("manager of the system", system.managers[0].identity == manager.identity),
        ("chassis", chassis.identity is not None),
        ("manager type", manager.manager_type == sushy.ManagerType.BMC),
        ("reset types", sushy.ResetType.ON in system.get_allowed_reset_system_values()),
    ):
        if not found:
            print(f"{what} is not as it should be")
    system.reset_system(sushy.ResetType.FORCE_RESTART)
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        time.sleep(0.2)
        system.refresh(force=True)
        if system.power_state == sushy.PowerState.ON:
            break
    else:
        print("the system is not on again after a reset")
    service = root.get_update_service()
    entries = service.firmware_inventory.get_members()
    if not entries or not all(entry.version for entry in entries):
        print("the firmware inventory has an entry without a version")
    if image == "-":
        return
    protocol = sushy.UpdateTransferProtocolType(image.split(":")[0].upper())
    try:
        monitor = service.simple_update(image, transfer_protocol=protocol)
        monitor.wait(30)
    except sushy.exceptions.MissingHeaderError:
        pass  # An iLO and a minimal BMC name no task; their inventory has to tell.
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            root = sushy.Sushy(url, verify=authority, auth=kind(username=user, password=password))
            entries = root.get_update_service().firmware_inventory.get_members()
            if any(entry.version == version for entry in entries):
                return
        except (sushy.exceptions.SushyError, OSError):
            pass  # The BMC starts again.
        time.sleep(0.2)
    print(f"{device} did not get {version}")


if __name__ == "__main__":
    main(*sys.argv[1:7])
