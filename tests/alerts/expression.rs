//! Analyses a `PromQL` expression: the labels of its result, and the names in it that do not exist. It
//! supports the functions and forms that alerts and dashboard use; any other is a finding.

use farrier::metrics::catalogue::{ALL, Entry, Kind};
use farrier_update::Reason;
use promql_parser::label::{Labels, Matchers};
use promql_parser::parser::{
    self, AggregateExpr, BinaryExpr, Call, Expr, LabelModifier, VectorMatchCardinality, VectorSelector,
};
use std::collections::BTreeSet;

/// Labels that a scrape adds to each series: a `ServiceMonitor` sets all of them.
const OF_TARGET: [&str; 4] = ["namespace", "pod", "instance", "job"];

/// The problems of an expression, and the labels of its result.
#[derive(Debug, Default)]
pub(crate) struct Reading {
    /// Names, labels and values that do not exist; operations that can never have a result.
    pub(crate) findings: Vec<String>,
    /// `None` if the result is a plain number.
    pub(crate) labels: Option<BTreeSet<String>>,
}

/// Analyses an expression, after substituting Grafana's variables.
pub(crate) fn read(expr: &str) -> Reading {
    let plain = expr.replace("$__rate_interval", "5m").replace("$__interval", "1m").replace("$__range", "1h");
    let mut findings = Vec::new();
    let labels = match parser::parse(&plain) {
        Ok(expr) => labels(&expr, &mut findings),
        Err(words) => {
            findings.push(format!("no PromQL: {words}"));
            None
        }
    };
    Reading { findings, labels }
}

/// Returns the metric that a name in an expression refers to. A histogram is queried by its parts.
fn metric(name: &str) -> Option<&'static Entry> {
    let parts = ["_bucket", "_sum", "_count"].iter().filter_map(|part| name.strip_suffix(part));
    let whole = ALL.iter().find(|entry| entry.name == name && entry.kind != Kind::Histogram);
    whole.or_else(|| {
        parts.into_iter().find_map(|base| ALL.iter().find(|e| e.name == base && e.kind == Kind::Histogram))
    })
}

fn labels(expr: &Expr, findings: &mut Vec<String>) -> Option<BTreeSet<String>> {
    match expr {
        Expr::VectorSelector(selector) => Some(of_selector(selector, findings)),
        Expr::MatrixSelector(selector) => {
            let found = of_selector(&selector.vs, findings);
            let gauge = selector.vs.name.as_deref().and_then(metric).is_some_and(|e| e.kind == Kind::Gauge);
            if gauge {
                findings.push(format!("{expr}: a gauge over time"));
            }
            Some(found)
        }
        Expr::Aggregate(aggregate) => Some(of_aggregate(aggregate, findings)),
        Expr::Binary(binary) => of_binary(binary, findings),
        Expr::Paren(paren) => labels(&paren.expr, findings),
        Expr::Unary(unary) => labels(&unary.expr, findings),
        Expr::Call(call) => of_call(call, findings),
        Expr::NumberLiteral(_) | Expr::StringLiteral(_) => None,
        Expr::Subquery(_) | Expr::Extension(_) => {
            findings.push(format!("{expr}: tests/alerts does not know this form"));
            None
        }
    }
}

fn of_selector(selector: &VectorSelector, findings: &mut Vec<String>) -> BTreeSet<String> {
    let name = selector.name.as_deref().unwrap_or_default();
    let mut labels: BTreeSet<String> = OF_TARGET.map(str::to_owned).into();
    let Some(entry) = metric(name) else {
        findings.push(format!("{name}: there is no such metric"));
        return labels;
    };
    labels.extend(entry.labels.iter().map(|&label| label.to_owned()));
    if name.ends_with("_bucket") {
        labels.insert("le".to_owned());
    }
    let Matchers { matchers, or_matchers } = &selector.matchers;
    for matcher in matchers.iter().chain(or_matchers.iter().flatten()) {
        if !labels.contains(&matcher.name) {
            findings.push(format!("{name} has no label {}", matcher.name));
        } else if entry.labels.contains(&matcher.name.as_str()) {
            let unknown = matcher.value.split('|').filter(|value| !is_told(entry, value));
            findings.extend(unknown.map(|value| format!("{name}: {} is never {value}", matcher.name)));
        }
    }
    labels
}

/// Reports whether docs/metrics.md names the value beside the metric, or the value is a reason.
fn is_told(entry: &Entry, value: &str) -> bool {
    let quoted = format!("`{value}`");
    let reason = entry.labels.iter().any(|label| matches!(*label, "reason" | "result"))
        && Reason::ALL.iter().any(|reason| reason.as_str() == value);
    reason || entry.help.contains(&quoted) || entry.worry.contains(&quoted)
}

fn of_aggregate(aggregate: &AggregateExpr, findings: &mut Vec<String>) -> BTreeSet<String> {
    let inner = labels(&aggregate.expr, findings).unwrap_or_default();
    let keeps = matches!(aggregate.op.to_string().as_str(), "topk" | "bottomk");
    match &aggregate.modifier {
        None if keeps => inner,
        None => BTreeSet::new(),
        Some(LabelModifier::Include(by)) => among(by, &inner, findings),
        Some(LabelModifier::Exclude(without)) => {
            let left = among(without, &inner, findings);
            inner.difference(&left).cloned().collect()
        }
    }
}

/// Returns the labels in `asked`; any that is not in `there` is a finding.
fn among(asked: &Labels, there: &BTreeSet<String>, findings: &mut Vec<String>) -> BTreeSet<String> {
    let asked: BTreeSet<String> = asked.labels.iter().cloned().collect();
    findings.extend(asked.difference(there).map(|label| format!("there is no label {label} to group by")));
    asked
}

fn of_binary(binary: &BinaryExpr, findings: &mut Vec<String>) -> Option<BTreeSet<String>> {
    let (left, right) = (labels(&binary.lhs, findings), labels(&binary.rhs, findings));
    let (Some(left), Some(right)) = (left.clone(), right.clone()) else {
        return left.or(right);
    };
    let modifier = binary.modifier.as_ref();
    let many = modifier.is_some_and(|m| {
        !matches!(m.card, VectorMatchCardinality::OneToOne | VectorMatchCardinality::ManyToMany)
    });
    if many {
        findings.push(format!("{binary}: tests/alerts does not know group_left and group_right"));
    }
    match modifier.and_then(|modifier| modifier.matching.as_ref()) {
        None if left != right => {
            findings.push(format!("{binary}: {left:?} on the left never match {right:?} on the right"));
        }
        None => {}
        Some(LabelModifier::Include(on)) => {
            among(on, &left, findings);
            among(on, &right, findings);
        }
        Some(LabelModifier::Exclude(_)) => findings.push(format!("{binary}: say `on`, not `ignoring`")),
    }
    Some(left)
}

fn of_call(call: &Call, findings: &mut Vec<String>) -> Option<BTreeSet<String>> {
    let of_vector = call.args.args.iter().filter_map(|arg| labels(arg, findings)).next_back();
    match call.func.name {
        "rate" | "increase" => {
            let counted = call.args.args.iter().all(|arg| matches!(arg.as_ref(), Expr::MatrixSelector(_)));
            if !counted {
                findings.push(format!("{call}: of what?"));
            }
            of_vector
        }
        "histogram_quantile" => {
            let mut labels = of_vector.unwrap_or_default();
            if !labels.remove("le") {
                findings.push(format!("{call}: the buckets are gone"));
            }
            Some(labels)
        }
        "absent" => Some(BTreeSet::new()),
        other => {
            findings.push(format!("{other}: tests/alerts does not know this function"));
            None
        }
    }
}
