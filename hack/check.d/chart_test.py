"""Tests of charts/farrier, with helm and a real API server: what is rendered, what is refused, what
the server makes of it. `hack/test chart` runs them; HELM names helm, KUBECONFIG the cluster."""

import json
import os
import re
import subprocess
import sys
import tomllib
import unittest
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "charts" / "farrier"
HELM = os.environ["HELM"]
MONITORING = ["--api-versions", "monitoring.coreos.com/v1"]


def helm(*args: str) -> subprocess.CompletedProcess:
    return subprocess.run([HELM, *args], cwd=ROOT, capture_output=True, text=True)


def template(*settings: str, flags: list[str] = (), namespace: str = "tools") -> list[dict]:
    """Everything that is rendered with these settings, as objects."""
    sets = [word for setting in settings for word in ("--set-json" if "={" in setting or "=[" in setting else "--set", setting)]
    done = helm("template", "farrier", str(CHART), "--namespace", namespace, *sets, *flags)
    if done.returncode:
        raise AssertionError(done.stderr)
    return [object for object in yaml.safe_load_all(done.stdout) if object]


def refusal(*settings: str) -> str:
    try:
        template(*settings)
    except AssertionError as error:
        return str(error)
    raise AssertionError(f"{settings} were accepted")


def kubectl(*args: str, stdin: object = None) -> subprocess.CompletedProcess:
    text = None if stdin is None else json.dumps(stdin)
    return subprocess.run(["kubectl", *args], input=text, capture_output=True, text=True)


def of_kind(objects: list[dict], kind: str) -> list[dict]:
    return [object for object in objects if object["kind"] == kind]


def one(objects: list[dict], kind: str, name: str = "farrier") -> dict:
    found = [o for o in of_kind(objects, kind) if o["metadata"]["name"] == name]
    assert len(found) == 1, f"{len(found)} objects {kind}/{name}"
    return found[0]


def container(objects: list[dict]) -> dict:
    return one(objects, "Deployment")["spec"]["template"]["spec"]["containers"][0]


def environment(objects: list[dict]) -> dict:
    return {entry["name"]: entry.get("value") for entry in container(objects)["env"]}


class Rendered(unittest.TestCase):
    def test_lint_has_nothing_to_say(self):
        done = helm("lint", "--strict", str(CHART))
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_the_version_is_the_operators(self):
        version = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]["package"]["version"]
        chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
        self.assertEqual((chart["appVersion"], chart["apiVersion"]), (version, "v2"))
        self.assertTrue(container(template())["image"].endswith(f":{version}"))

    def test_every_value_is_documented_and_in_the_schema(self):
        def keys(schema: dict, at: str = ""):
            for name, part in schema.get("properties", {}).items():
                yield f"{at}{name}"
                yield from keys(part, f"{at}{name}.")

        def values(part: dict, at: str = ""):
            for name, value in part.items():
                yield f"{at}{name}"
                if isinstance(value, dict):
                    yield from values(value, f"{at}{name}.")

        defaults = yaml.safe_load((CHART / "values.yaml").read_text())
        known = set(keys(json.loads((CHART / "values.schema.json").read_text())))
        free = ("resources.", "networkPolicy.dns.podLabels.", "dashboard.labels.")
        unknown = {key for key in values(defaults) if key not in known and not key.startswith(free)}
        self.assertEqual(unknown, set())
        missing = {key for key in known if "." not in key and key not in defaults} - {"global"}
        self.assertEqual(missing, set())

    def test_definitions_stay_when_the_release_goes(self):
        definitions = of_kind(template(), "CustomResourceDefinition")
        plain = [yaml.safe_load(path.read_text()) for path in sorted((ROOT / "crds").glob("*.yaml"))]
        for definition in definitions:
            self.assertEqual(definition["metadata"].pop("annotations"), {"helm.sh/resource-policy": "keep"})
        self.assertEqual(sorted(definitions, key=lambda d: d["metadata"]["name"]), plain)
        self.assertEqual(of_kind(template("crds.install=false"), "CustomResourceDefinition"), [])

    def test_every_object_says_which_release_it_belongs_to(self):
        everything = template("serviceMonitor.enabled=true", "alerts.enabled=true", "dashboard.enabled=true",
                              'networkPolicy.metricsFrom=[{"podSelector": {}}]', "replicas=2", "uninstall.force=true", flags=MONITORING)
        for object in everything:
            if object["kind"] != "CustomResourceDefinition":
                self.assertEqual(object["metadata"]["labels"]["app.kubernetes.io/instance"], "farrier", object)

    def test_the_pods_environment_says_where_they_are(self):
        found = environment(template())
        for name in ("RUNNER", "POD_UID", "POD_NAMESPACE", "POD_IPS", "HOST_IPS", "NODE_NAME"):
            self.assertIn(f"FARRIER_{name}", found)
        selector = one(template(), "Deployment")["spec"]["selector"]["matchLabels"]
        self.assertEqual(dict(pair.split("=") for pair in found["FARRIER_POD_SELECTOR"].split(",")), selector)
        self.assertNotIn("FARRIER_NAMESPACE", found)
        self.assertEqual(environment(template('watchNamespaces=["a","b"]'))["FARRIER_NAMESPACE"], "a,b")

    def test_what_belongs_to_the_cluster_is_said_if_it_is_known(self):
        known = environment(template('clusterRanges.pods=["10.244.0.0/16","fd00:1::/48"]', 'clusterRanges.services=["10.96.0.0/12"]'))
        self.assertEqual((known["FARRIER_POD_RANGES"], known["FARRIER_SERVICE_RANGES"]), ("10.244.0.0/16,fd00:1::/48", "10.96.0.0/12"))
        unknown = environment(template())
        self.assertNotIn("FARRIER_POD_RANGES", unknown)
        self.assertNotIn("FARRIER_SERVICE_RANGES", unknown)

    def test_host_ports_are_declared_one_by_one(self):
        objects = template("hostPorts.first=64000", "hostPorts.count=4")
        declared = [(p["containerPort"], p["hostPort"]) for p in container(objects)["ports"] if "hostPort" in p]
        self.assertEqual(declared, [(port, port) for port in range(64000, 64004)])
        self.assertEqual(environment(objects)["FARRIER_HOST_PORTS"], "64000+4")
        strategy = one(objects, "Deployment")["spec"]["strategy"]["rollingUpdate"]
        self.assertEqual(strategy, {"maxSurge": 0, "maxUnavailable": 1})
        default = [p["hostPort"] for p in container(template())["ports"] if "hostPort" in p]
        self.assertEqual(default, list(range(63001, 63017)))

    def test_without_host_ports_a_new_pod_comes_before_the_old_one_goes(self):
        objects = template("hostPorts.enabled=false")
        self.assertEqual([p["name"] for p in container(objects)["ports"]], ["http"])
        self.assertNotIn("FARRIER_HOST_PORTS", environment(objects))
        self.assertEqual(one(objects, "Deployment")["spec"]["strategy"]["rollingUpdate"]["maxSurge"], 1)

    def test_a_digest_goes_before_a_tag(self):
        digest = "sha256:" + "0" * 64
        image = container(template(f"image.digest={digest}", "image.tag=v1", "image.repository=r.example.net/f"))["image"]
        self.assertEqual(image, f"r.example.net/f@{digest}")

    def test_payloads_are_mounted_for_reading(self):
        objects = template('payloads.volume={"persistentVolumeClaim": {"claimName": "payloads"}}')
        mount = next(m for m in container(objects)["volumeMounts"] if m["name"] == "payloads")
        self.assertTrue(mount["readOnly"])
        self.assertEqual(environment(objects)["FARRIER_PAYLOAD_DIR"], mount["mountPath"])

    def test_a_disruption_budget_comes_with_the_second_replica(self):
        self.assertEqual(of_kind(template(), "PodDisruptionBudget"), [])
        self.assertEqual(one(template("replicas=2"), "PodDisruptionBudget")["spec"]["maxUnavailable"], 1)

    def test_monitoring_comes_where_the_cluster_knows_its_kinds(self):
        asked = ["serviceMonitor.enabled=true", "alerts.enabled=true", 'networkPolicy.metricsFrom=[{"podSelector": {}}]']
        kinds = {o["kind"] for o in template(*asked)}
        self.assertEqual(kinds & {"PodMonitor", "ServiceMonitor", "PrometheusRule"}, set())
        kinds = {o["kind"] for o in template(*asked, flags=MONITORING)}
        self.assertLessEqual({"ServiceMonitor", "PrometheusRule"}, kinds)

    def test_every_alert_leads_to_a_runbook_that_is_there(self):
        rule = one(template("alerts.enabled=true", flags=MONITORING), "PrometheusRule")
        alerts = [r for group in rule["spec"]["groups"] for r in group["rules"] if "alert" in r]
        self.assertGreater(len(alerts), 0)
        for alert in alerts:
            page = re.search(r"docs/runbooks/([\w-]+\.md)$", alert["annotations"]["runbook_url"])
            self.assertTrue(page and (ROOT / page[0]).is_file(), alert["annotations"])
        moved = one(template("alerts.enabled=true", "alerts.runbookURL=https://wiki.example.net/r", flags=MONITORING), "PrometheusRule")
        for alert in (r for group in moved["spec"]["groups"] for r in group["rules"] if "alert" in r):
            self.assertRegex(alert["annotations"]["runbook_url"], r"^https://wiki\.example\.net/r/[\w-]+\.md$")

    def test_the_dashboard_is_json_in_a_config_map(self):
        found = one(template("dashboard.enabled=true"), "ConfigMap", "farrier-dashboard")
        self.assertEqual(found["metadata"]["labels"]["grafana_dashboard"], "1")
        (content,) = found["data"].values()
        self.assertIn("panels", json.loads(content))

    def test_nothing_is_let_in_and_out_but_what_is_needed(self):
        objects = template('networkPolicy.apiServer.cidrs=["192.0.2.1/32"]', "networkPolicy.apiServer.port=443",
                           'networkPolicy.egress=[{"cidrs": ["198.51.100.0/24"], "ports": [8443]}]')
        deny = one(objects, "NetworkPolicy", "farrier-deny")["spec"]
        self.assertEqual(deny["policyTypes"], ["Ingress", "Egress"])
        self.assertNotIn("ingress", deny)
        self.assertNotIn("egress", deny)
        spec = one(objects, "NetworkPolicy")["spec"]
        self.assertEqual(spec["ingress"], [])
        ways = [(rule["to"], [p["port"] for p in rule["ports"]]) for rule in spec["egress"]]
        self.assertEqual(ways[0], ([{"ipBlock": {"cidr": "192.0.2.1/32"}}], [443]))
        self.assertEqual(ways[1][1], [53, 53])
        self.assertEqual(ways[2], ([{"ipBlock": {"cidr": "198.51.100.0/24"}}], [8443]))
        self.assertEqual(len(ways), 3)
        self.assertEqual(of_kind(template("networkPolicy.enabled=false"), "NetworkPolicy"), [])

    def test_named_namespaces_leave_nothing_of_cluster_scope(self):
        kinds = [o["kind"] for o in template('watchNamespaces=["a","b"]')]
        self.assertNotIn("ClusterRole", kinds)
        self.assertNotIn("ClusterRoleBinding", kinds)
        roles = {(o["metadata"]["namespace"], o["metadata"]["name"]) for o in of_kind(template('watchNamespaces=["a","b"]'), "Role")}
        self.assertLessEqual({("a", "farrier-watched"), ("b", "farrier-watched"), ("tools", "farrier")}, roles)

    def test_every_rule_has_its_reason_beside_it(self):
        lines = (CHART / "templates" / "_rules.tpl").read_text().splitlines()
        for number, line in enumerate(lines):
            if line.startswith("- apiGroups"):
                self.assertTrue(lines[number - 1].startswith("# "), f"line {number + 1}")
        for object in of_kind(template(), "ClusterRole") + of_kind(template(), "Role"):
            for rule in object["rules"]:
                self.assertNotIn("*", rule["apiGroups"] + rule["resources"] + rule["verbs"])

    def test_machines_are_drained_only_where_that_is_allowed(self):
        def drains(*settings: str) -> set[tuple[str, str]]:
            rules = [(object["kind"], rule) for kind in ("ClusterRole", "Role") for object in of_kind(template(*settings), kind) for rule in object["rules"]]
            return {(kind, resource) for kind, rule in rules for resource in rule["resources"] if resource in ("nodes", "pods", "pods/eviction", "jobs", "cronjobs")}
        self.assertEqual(drains(), set())
        nodes = {("ClusterRole", "nodes"), ("ClusterRole", "pods"), ("ClusterRole", "pods/eviction")}
        self.assertEqual(drains("drain.kubernetesNodes=true", 'watchNamespaces=["a"]'), nodes)
        self.assertEqual(drains("drain.jobs=true", 'watchNamespaces=["a"]'), {("Role", "jobs"), ("Role", "cronjobs")})

    def test_long_names_are_cut(self):
        done = helm("template", "r" * 53, str(CHART), "--set", "hostPorts.enabled=false")
        # Those of roles may be longer.
        for object in (o for o in yaml.safe_load_all(done.stdout) if o and "Role" not in o["kind"]):
            self.assertLessEqual(len(object["metadata"]["name"]), 63)


class Refused(unittest.TestCase):
    """One sample for each rule, and the words that tell the user which."""

    SAMPLES = [
        ("replicaz=2", "replicaz"),
        ("operator.logs=info", "logs"),
        ("fullnameOverride=Has.Dots", "/fullnameOverride"),
        ("image.repository=", "/image/repository"),
        ("image.digest=sha256:1234", "/image/digest"),
        ("image.pullPolicy=Sometimes", "/image/pullPolicy"),
        ("replicas=-1", "/replicas"),
        ("replicas=two", "/replicas"),
        ('watchNamespaces=["Fleet"]', "/watchNamespaces/0"),
        ('watchNamespaces=["a","a"]', "/watchNamespaces"),
        ("hostPorts.first=80", "/hostPorts/first"),
        ("hostPorts.count=1", "/hostPorts/count"),
        ("hostPorts.count=5", "/hostPorts/count"),
        ("hostPorts.first=65530", "ends at 65545, after the last port"),
        ("http.port=80", "/http/port"),
        ("http.port=63005", "63005 is one of the ports of hostPorts (63001 to 63016)"),
        ("operator.engineLeaseSeconds=5", "/operator/engineLeaseSeconds"),
        ("operator.replicaLeaseSeconds=1", "/operator/replicaLeaseSeconds"),
        ("operator.loadBalancerSeconds=0", "/operator/loadBalancerSeconds"),
        ("operator.otlpEndpoint=collector:4317", "/operator/otlpEndpoint"),
        ('operator.env=[{"name": "FARRIER_RUNNER", "value": "x"}]', "/operator/env/0/name"),
        ('clusterRanges.pods=["10.244.0.0"]', "/clusterRanges/pods/0"),
        ('clusterRanges.services=["10.96.0.0/12","10.96.0.0/12"]', "/clusterRanges/services"),
        ('operator.env=[{"name": "FARRIER_SERVICE_RANGES", "value": "x"}]', "/operator/env/0/name"),
        ('payloads.volume={"hostPath": {"path": "/"}}', "hostPath"),
        ('payloads.volume={"secret": {}, "configMap": {}}', "/payloads/volume"),
        ("payloads.cacheSize=lots", "/payloads/cacheSize"),
        ('networkPolicy.apiServer.cidrs=["10.0.0.1"]', "/networkPolicy/apiServer/cidrs/0"),
        ("networkPolicy.apiServer.port=0", "/networkPolicy/apiServer/port"),
        ('networkPolicy.egress=[{"cidrs": ["192.0.2.0/24"]}]', "/networkPolicy/egress/0"),
        ('networkPolicy.metricsFrom=[{"pods": {}}]', "/networkPolicy/metricsFrom/0"),
        ("podDisruptionBudget.maxUnavailable=0", "/podDisruptionBudget/maxUnavailable"),
        ("serviceMonitor.enabled=true", "networkPolicy.metricsFrom is empty"),
        ("serviceMonitor.interval=often", "/serviceMonitor/interval"),
        ("alerts.runbookURL=wiki", "/alerts/runbookURL"),
        ('podLabels={"app.kubernetes.io/name": "other"}', "invalid propertyName 'app.kubernetes.io/name'"),
        ('clusterRanges.pods=["10.244.0.0"]', "/clusterRanges/pods/0"),
        ("dnsPolicy=ClusterFirstWithHostNet", "/dnsPolicy"),
        ("hostNetwork=true", "hostNetwork"),
    ]

    def test_samples(self):
        for setting, words in self.SAMPLES:
            with self.subTest(setting):
                self.assertIn(words, refusal(setting))

    def test_a_namespace_of_the_cluster_is_refused(self):
        done = helm("template", "farrier", str(CHART), "--namespace", "kube-system")
        self.assertIn("belongs to the cluster", done.stderr)


class Served(unittest.TestCase):
    """What a real API server makes of it."""

    @classmethod
    def setUpClass(cls):
        for name in ("tools", "a", "b"):
            kubectl("create", "namespace", name)
        kubectl("label", "namespace", "a", "pod-security.kubernetes.io/enforce=restricted")
        kubectl("label", "namespace", "b", "pod-security.kubernetes.io/enforce=baseline")

    def accepted(self, objects: list[dict]):
        listed = {"apiVersion": "v1", "kind": "List", "items": objects}
        done = kubectl("apply", "--dry-run=server", "--filename=-", stdin=listed)
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_everything_is_accepted(self):
        for settings in ((), ("replicas=3", "hostPorts.enabled=false", 'watchNamespaces=["a","b"]',
                              'payloads.volume={"persistentVolumeClaim": {"claimName": "payloads"}}', "uninstall.force=true")):
            with self.subTest(settings):
                self.accepted(template(*settings))

    def pod(self, namespace: str, *settings: str) -> subprocess.CompletedProcess:
        spec = one(template(*settings, namespace=namespace), "Deployment")["spec"]["template"]["spec"]
        # Of the pod security standards only; there is no such account here.
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": namespace}, "spec": spec | {"serviceAccountName": "default"}}
        return kubectl("create", "--dry-run=server", "--filename=-", stdin=pod)

    def test_pods_pass_the_restricted_pod_security_standard_without_host_ports(self):
        done = self.pod("a", "hostPorts.enabled=false", 'payloads.volume={"configMap": {"name": "payloads"}}')
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_host_ports_are_what_keeps_them_from_it(self):
        for namespace in ("a", "b"):
            self.assertIn("hostPort", self.pod(namespace).stderr)
        self.assertEqual(self.pod("tools").returncode, 0)

    def test_the_pods_of_hooks_pass_it(self):
        jobs = of_kind(template("hostPorts.enabled=false", namespace="a"), "Job")
        self.assertEqual(len(jobs), 2)
        for job in jobs:
            spec = job["spec"]["template"]["spec"] | {"serviceAccountName": "default"}
            pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "a"}, "spec": spec}
            done = kubectl("create", "--dry-run=server", "--filename=-", stdin=pod)
            self.assertEqual(done.returncode, 0, done.stderr)

    def test_an_installation_that_pod_security_would_break_is_refused_before(self):
        done = helm("install", "farrier", str(CHART), "--namespace", "a", "--dry-run=server")
        self.assertIn("kubectl label namespace a pod-security.kubernetes.io/enforce=privileged", done.stderr)

    def test_a_second_release_has_to_keep_out_of_the_way_of_the_first(self):
        """Two operators over one namespace would decide about the same runs; two in one would share a leader."""
        some = ("--set", "hostPorts.enabled=false", "--set", "crds.install=false")
        done = helm("install", "one", str(CHART), "--namespace", "tools", *some, "--set-json", 'watchNamespaces=["a"]')
        self.assertEqual(done.returncode, 0, done.stderr)
        try:
            def second(namespace: str, watched: str) -> str:
                return helm("install", "two", str(CHART), "--namespace", namespace, "--dry-run=server", *some,
                            "--set-json", f"watchNamespaces={watched}").stderr
            self.assertIn("the namespace tools has the release one of Farrier", second("tools", '["b"]'))
            watched = "the namespace a is watched by the release one in the namespace tools"
            self.assertIn(watched, second("b", '["a"]'))
            self.assertIn(watched, second("b", "[]"))
            self.assertEqual("", second("b", '["b"]'))
            again = helm("upgrade", "one", str(CHART), "--namespace", "tools", "--dry-run=server", "--reset-then-reuse-values")
            self.assertEqual(again.returncode, 0, again.stderr)
        finally:
            helm("uninstall", "one", "--namespace", "tools", "--no-hooks")

    def test_a_watched_namespace_has_to_be_there(self):
        done = helm("install", "farrier", str(CHART), "--namespace", "tools", "--dry-run=server", "--set-json", 'watchNamespaces=["a","nowhere"]')
        self.assertIn("there is no namespace nowhere", done.stderr)

    def test_the_address_of_the_api_server_is_looked_up(self):
        slice = {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv6",
                 "metadata": {"name": "kubernetes-test", "namespace": "default", "labels": {"kubernetes.io/service-name": "kubernetes"}},
                 "endpoints": [{"addresses": ["2001:db8::1"]}], "ports": [{"name": "https", "port": 6443, "protocol": "TCP"}]}
        self.assertEqual(kubectl("create", "--filename=-", stdin=slice).returncode, 0)
        try:
            done = helm("install", "farrier", str(CHART), "--namespace", "tools", "--dry-run=server")
        finally:
            kubectl("delete", "endpointslice", "-n", "default", "kubernetes-test")
        self.assertIn("cidr: \"2001:db8::1/128\"", done.stdout, done.stderr)
        self.assertNotIn("0.0.0.0/0", done.stdout)

    def test_the_ranges_of_the_cluster_are_looked_up_where_all_namespaces_are_watched(self):
        node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "ranges"},
                "spec": {"podCIDR": "10.244.7.0/24", "podCIDRs": ["10.244.7.0/24", "fd00:7::/64"]}}
        served = json.loads(kubectl("get", "servicecidrs", "--output=json").stdout)["items"]
        services = ",".join(sorted(cidr for item in served for cidr in item["spec"]["cidrs"]))
        self.assertEqual(kubectl("create", "--filename=-", stdin=node).returncode, 0)
        try:
            install = ("install", "farrier", str(CHART), "--namespace", "tools", "--dry-run=server")
            everywhere, some = helm(*install), helm(*install, "--set-json", 'watchNamespaces=["a"]')
        finally:
            kubectl("delete", "node", "ranges")
        self.assertRegex(everywhere.stdout, r'FARRIER_POD_RANGES\n +value: "10\.244\.7\.0/24,fd00:7::/64"', everywhere.stderr)
        self.assertRegex(everywhere.stdout, rf'FARRIER_SERVICE_RANGES\n +value: "{re.escape(services)}"')
        self.assertEqual(some.returncode, 0, some.stderr)
        self.assertNotIn("_RANGES", some.stdout)

    def rights(self, account: str, namespace: str) -> list[str]:
        listed = kubectl("auth", "can-i", "--list", f"--as=system:serviceaccount:tools:{account}", f"--namespace={namespace}").stdout
        lines = [re.sub(r"\s+", " ", line).strip() for line in listed.splitlines()[1:]]
        # What every account may do.
        return sorted(l for l in lines if l and not l.startswith("[") and "self" not in l.split(" ")[0])

    def test_the_rights_are_those_that_were_agreed(self):
        """hack/check.d/chart-rights.txt is what a security review reads; UPDATE_EXPECT=1 writes it."""
        text = ""
        for scope, settings in (("all namespaces", ()), ("namespace a only", ('watchNamespaces=["a"]',)),
                                ("namespace a only, with drains", ('watchNamespaces=["a"]', "drain.kubernetesNodes=true", "drain.jobs=true"))):
            objects = [o for o in template(*settings) if o["kind"] in
                       {"ServiceAccount", "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"} and "helm.sh/hook" not in str(o)]
            listed = {"apiVersion": "v1", "kind": "List", "items": objects}
            self.assertEqual(kubectl("apply", "--filename=-", stdin=listed).returncode, 0)
            for namespace in ("tools", "a", "b"):
                rights = "\n".join(f"  {line}" for line in self.rights("farrier", namespace)) or "  nothing"
                text += f"watching {scope}: in namespace {namespace}\n{rights}\n"
            kubectl("delete", "--filename=-", stdin=listed)
        agreed = Path(__file__).with_name("chart-rights.txt")
        if os.environ.get("UPDATE_EXPECT") == "1":
            agreed.write_text(text)
        self.assertEqual(text, agreed.read_text())


def main() -> int:
    suite = unittest.defaultTestLoader.loadTestsFromModule(sys.modules[__name__])
    result = unittest.TextTestRunner(stream=sys.stdout, verbosity=2).run(suite)
    failed = len({str(test).split(" [")[0] for test, _ in result.failures + result.errors})
    print(f"{result.testsRun - failed} passed, {failed} failed")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
