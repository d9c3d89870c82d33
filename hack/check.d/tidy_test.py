"""Each rule of tidy.py with a file that breaks it and one that comes close and does not."""

import unittest

import imports
import tidy

ABOUT = "//! What it is.\n"


def found(rule, path: str, text: str) -> list[int]:
    return [line for line, _ in rule(tidy.Source(path, text))]


class Rules(unittest.TestCase):
    def breaks(self, rule, path, text, *lines):
        self.assertEqual(found(rule, path, text), list(lines), text)

    def keeps(self, rule, path, text):
        self.breaks(rule, path, text)

    def test_files(self):
        self.breaks(tidy.module_files, "src/a.rs", "use x;\n", 1)
        self.breaks(tidy.module_files, "src/a.rs", ABOUT * 601, 600)
        self.breaks(tidy.module_files, "src/a/mod.rs", ABOUT, 1)
        self.breaks(tidy.module_files, "tests/common/a.rs", ABOUT, 1)
        self.breaks(tidy.module_files, "src/a.rs", ABOUT + "pub mod helpers {", 2)
        self.keeps(tidy.module_files, "src/a.rs", ABOUT * 600)
        self.keeps(tidy.module_files, "src/manager_of_sites.rs", ABOUT + "// mod util;\n")

    def test_unfinished(self):
        self.breaks(tidy.unfinished, "src/a.rs", ABOUT + "fn f() { todo!() }\nlet x = dbg!(1);", 2, 3)
        self.breaks(tidy.unfinished, "src/a.rs", ABOUT + "// TOD" + "O: later", 2)
        self.keeps(tidy.unfinished, "src/a.rs", ABOUT + "// TOD" + 'O(#12): later\nlet s = "todo!()";')

    def test_tests(self):
        self.breaks(tidy.tests, "src/a.rs", ABOUT + "#[ignore]\n#[ignore = \"slow\"]", 2, 3)
        self.breaks(tidy.tests, "tests/a.rs", ABOUT + "thread::sleep(x);", 2)
        self.breaks(tidy.tests, "src/a.rs", ABOUT + "sleep(x);\n#[cfg(test)]\nmod t { fn f() { sleep(x) } }", 4)
        self.keeps(tidy.tests, "tests/a.rs", ABOUT + "// sleep: the clock of the machine has a step of 10 ms\nthread::sleep(x);")
        self.keeps(tidy.tests, "src/a.rs", ABOUT + "thread::sleep(x);")

    def test_layers_below_kubernetes(self):
        self.breaks(tidy.layers, "src/drivers/a.rs", ABOUT + "use kube::Api;\nuse crate::api::X;", 2, 3)
        self.breaks(tidy.layers, "src/callback.rs", ABOUT + "use crate::{\n  api::X,\n};", 2)
        self.keeps(tidy.layers, "src/drivers/a.rs", ABOUT + "// knows neither kube nor crate::api\nuse crate::apiary;")

    def test_writers(self):
        kube = ABOUT + "use kube::Api;\n"
        self.breaks(tidy.layers, "src/a.rs", kube + "api.patch_status(name, &p, &x).await?;", 3)
        self.breaks(tidy.layers, "src/a.rs", kube + "api\n  .delete(\n name, &d)", 4)
        self.breaks(tidy.layers, "src/a.rs", ABOUT + "use k::DeleteParams;", 2)
        self.keeps(tidy.layers, "src/a.rs", kube + 'x.replace("a", "b").replace(\'a\', ""); o.create(true);')
        self.keeps(tidy.layers, "src/run/act.rs", kube + "api.patch(name, &p, &x)")
        self.keeps(tidy.layers, "src/a.rs", ABOUT + "map.replace(x)")
        self.keeps(tidy.layers, "src/a.rs", kube + "#[cfg(test)]\nmod tests { fn f() { api.create(&p, &x) } }")

    def test_circles_of_imports(self):
        circle = {"a.rs": "use crate::b::x;", "b.rs": "fn f() { crate::a::y() }", "c.rs": "use crate::a::z;"}
        self.assertEqual(imports.Crate(circle).circles(), [["a.rs", "b.rs"]])
        through_a_parent = {
            "a.rs": "mod b;\nmod c;\npub use b::{f as g, h};",
            "a/b.rs": "use super::c::x;",
            "a/c.rs": "use crate::a::{\n    h, Y};",
        }
        self.assertEqual(imports.Crate(through_a_parent).circles(), [["a/b.rs", "a/c.rs"]])
        parent_and_child = {"a.rs": "mod b;\npub struct A;\nfn f() { b::g() }", "a/b.rs": "use super::A;"}
        self.assertEqual(imports.Crate(parent_and_child).circles(), [])
        in_tests = {"a.rs": "use crate::b::x;", "b.rs": "#[cfg(test)]\nmod tests { use crate::a::y; }"}
        self.assertEqual(imports.Crate(in_tests).circles(), [])

    def test_layers_of_modules(self):
        order = imports.layers("text\n```layers\nhigh   the top\nleft  right\nlow\n```\n")
        files = {"high.rs": "use crate::left::x;", "left/a.rs": "use crate::right::y;", "low.rs": "use crate::high;", "new.rs": ""}
        self.assertEqual(
            [path for path, _ in imports.Crate({**files, "left.rs": "", "right.rs": ""}).above(order)],
            ["left/a.rs", "low.rs", "new.rs"],
        )

    def test_machine_paths(self):
        host = "deb.debian" + ".org"
        self.assertEqual(len(list(tidy.machine_paths("hack/a", f"http://{host}/debian"))), 1)
        self.assertEqual(len(list(tidy.machine_paths("hack/a", f"cd {tidy.ROOT}/hack"))), 1)
        self.assertEqual(list(tidy.machine_paths("go.sum", f"http://{host}/debian")), [])

    def test_literals_and_comments_are_not_code(self):
        text = 'let a = r#"dbg!(" // "#; let b = \'"\'; /* dbg!\n */ let c = "\\"dbg!"; fn f<\'a>(x: &\'a str) {} // dbg!\ndbg!(x)'
        self.breaks(tidy.unfinished, "src/a.rs", ABOUT + text, 4)


if __name__ == "__main__":
    unittest.main()
