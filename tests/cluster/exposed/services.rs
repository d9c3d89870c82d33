//! The port of the SFTP service: open while a machine fetches by it, beside the ports that the run has anyway.

use super::{Scheme, Stage, WayBack, server};
use farrier::api::ManagedNode;
use farrier::api::update_run::CallbackStatus;
use k8s_openapi::api::core::v1::{Secret, Service};
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::api::ListParams;
use kube::{Api, ResourceExt as _};
use serde_json::json;
use std::sync::Arc;

impl Stage<'_> {
    /// What the machine, which takes no engine, fetches by at present.
    fn fetches(&mut self, scheme: Option<Scheme>) {
        let node = json!({
            "apiVersion": "farrier.dev/v1alpha1",
            "kind": "ManagedNode",
            "metadata": {"name": "m1", "namespace": self.server.namespace},
            "spec": {"type": "FCSwitch", "addresses": ["192.0.2.7"], "credentialsRef": {"name": "c"}},
        });
        let node: ManagedNode = serde_json::from_value(node).unwrap();
        self.machines[0].node = Arc::new(node);
        self.machines[0].way_back = scheme.map(WayBack::Fetch);
    }

    /// Decides until the runner listens, and everything that follows from it is made.
    async fn settle(&mut self) -> Option<CallbackStatus> {
        assert!(self.open().await);
        if self.callback().is_some() {
            self.listens().await;
        }
        for _ in 0..2 {
            self.caches_show_it().await;
            assert!(self.open().await);
        }
        self.callback()
    }

    fn callback(&self) -> Option<CallbackStatus> {
        self.run.status.as_ref()?.callback.clone()
    }

    async fn service(&self) -> Service {
        let all = self.services().list(&ListParams::default()).await.unwrap().items;
        let is_own = |service: &Service| service.labels().contains_key("farrier.dev/run-uid");
        all.into_iter().find(is_own).expect("a Service")
    }

    /// The ports that machines may reach.
    async fn let_in(&self) -> Vec<i32> {
        let all = self.policies().list(&ListParams::default()).await.unwrap().items;
        let rules = all.into_iter().filter_map(|policy| policy.spec?.ingress).flatten();
        let ports = rules.filter_map(|rule| rule.ports).flatten().filter_map(|port| port.port);
        let number = |port| match port {
            IntOrString::Int(number) => Some(number),
            IntOrString::String(_) => None,
        };
        ports.filter_map(number).collect()
    }
}

/// Otherwise a service that anybody could find would stay open, or a machine would find it closed.
#[tokio::test]
async fn the_port_of_sftp_is_open_while_a_machine_fetches_by_it() {
    server(async |server| {
        let callback = json!({"exposure": "NodePort", "sftpPort": 2222});
        let spec = json!({"selector": {}, "operation": "Inventory", "callback": callback});
        let mut stage = Stage::new(server, spec).await;
        let secrets: Api<Secret> = Api::namespaced(server.client.clone(), &server.namespace);
        let has_keys = async || secrets.get_opt("farrier-sftp-host-keys").await.unwrap().is_some();
        let names = async |stage: &Stage<'_>| {
            let ports = stage.service().await.spec.unwrap().ports.unwrap();
            ports.into_iter().filter_map(|port| port.name).collect::<Vec<_>>()
        };

        stage.fetches(Some(Scheme::Http));
        let by_http = stage.settle().await.unwrap();
        assert_eq!((by_http.ports[0].sftp_port, by_http.sftp_port), (None, None));
        assert_eq!(names(&stage).await, ["http", "https"]);
        assert_eq!(stage.let_in().await, [63001]);
        assert!(!has_keys().await);

        stage.fetches(Some(Scheme::Sftp));
        let by_sftp = stage.settle().await.unwrap();
        assert_eq!(by_sftp.ports[0].sftp_port, Some(2222));
        assert_eq!(
            (by_sftp.http_port, by_sftp.https_port),
            (by_http.http_port, by_http.https_port),
            "they stay"
        );
        assert!(by_sftp.sftp_port.is_some_and(|port| port >= 30000), "{by_sftp:?}");
        assert_eq!(names(&stage).await, ["http", "https", "sftp"]);
        assert_eq!(stage.let_in().await, [2222]);
        assert!(has_keys().await);

        stage.fetches(Some(Scheme::Http));
        let again = stage.settle().await.unwrap();
        assert_eq!((again.ports[0].sftp_port, again.sftp_port), (None, None));
        assert_eq!(names(&stage).await, ["http", "https"]);
        assert_eq!(stage.let_in().await, [63001]);

        stage.fetches(None);
        assert_eq!(stage.settle().await, None);
        assert_eq!(stage.let_in().await, [0; 0]);
        assert!(has_keys().await, "devices remember the key of a host");
        let api: Api<Event> = Api::namespaced(server.client.clone(), &server.namespace);
        let events = api.list(&ListParams::default()).await.unwrap().items;
        for (reason, words) in
            [("FileServiceOpened", "pod-1 on port 2222"), ("FileServiceClosed", "the SFTP service")]
        {
            let is_it = |event: &&Event| event.reason.as_deref() == Some(reason);
            let found: Vec<_> = events.iter().filter(is_it).filter_map(|event| event.note.clone()).collect();
            assert!(matches!(&found[..], [one] if one.contains(words)), "{found:?}");
        }
        assert_eq!(stage.told().await, [""; 0], "nobody else has changed anything");
    })
    .await;
}
