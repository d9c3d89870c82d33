"""Serves switches of fake-switches over SSH on free ports of the loopback address, and prints them.

Nothing of the package is changed: the names, passwords and numbers of ports are its own settings. Each line of
the output is a model and its port.
"""

from fake_switches.cisco.cisco_core import Cisco2960_48TT_L_SwitchCore
from fake_switches.dell.dell_core import DellSwitchCore
from fake_switches.switch_configuration import Port, SwitchConfiguration
from fake_switches.transports.ssh_service import SwitchSshService
from twisted.internet import reactor

MODELS = {
    "cisco": (Cisco2960_48TT_L_SwitchCore, Cisco2960_48TT_L_SwitchCore.get_default_ports()),
    # A stack of two, whose list of ports has more lines than a page.
    "dell": (DellSwitchCore, [Port(f"ethernet {unit}/g{number}") for unit in (1, 2) for number in range(1, 25)]),
}

for name, (core, ports) in MODELS.items():
    configuration = SwitchConfiguration(
        "127.0.0.1", name=f"{name}-7", privileged_passwords=["second; for #enable"], ports=ports
    )
    service = SwitchSshService("127.0.0.1", 0, core(configuration), {"admin": b"first, to sign in"})
    print(name, service.hook_to_reactor(reactor).getHost().port, flush=True)
reactor.run()
