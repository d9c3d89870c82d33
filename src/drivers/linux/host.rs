//! A Linux machine as a host of the engine.

use super::{Machine, Settings};
use crate::attempt::Job;
use crate::drivers::engine::{
    DeployProgress, Deployed, Host, Launch, Milestone, NotDeployed, Probe, StageOrder, StagedPayloads,
};
use crate::drivers::shell::Session;
use crate::engine_api::EngineApi;
use crate::failure::Failure;
use crate::metrics::{Metrics, result_of};
use crate::ssh::dial::dial;
use crate::ssh::{Family, Target};
use farrier_protocol::Dial;
use std::sync::Arc;
use tokio::net::TcpStream;

impl Host for Machine {
    type Settings = Arc<Settings>;

    async fn connect(
        settings: &Arc<Settings>,
        job: &Job,
        recorded: Option<&str>,
        metrics: &Metrics,
        report: impl FnMut(Milestone) + Send,
    ) -> Result<Self, Failure> {
        let connected = Session::connect(settings, job.id(), recorded, report).await;
        metrics.ssh_connects.count([result_of(&connected, "Connected")]);
        Ok(Self { session: connected? })
    }

    async fn probe(&self) -> Result<Probe, Failure> {
        self.probe().await
    }

    async fn deploy(
        &self,
        launch: &Launch<'_>,
        probe: &Probe,
        report: impl FnMut(DeployProgress) + Send,
    ) -> Result<Deployed, NotDeployed> {
        self.deploy(launch, probe, report).await
    }

    async fn talk(&self, deployed: &Deployed, engine_api: &Arc<EngineApi>) -> Result<(), Failure> {
        self.talk(deployed, engine_api).await
    }

    async fn reach(&self, targets: &[(String, u16)]) -> Result<Vec<Dial>, Failure> {
        self.session.reach(targets).await
    }

    async fn reach_by_engine(&self, dir: &str, addresses: &[String]) -> Result<Vec<Dial>, Failure> {
        self.reach_by_engine(dir, addresses).await
    }

    async fn dial(&self, port: u16) -> Result<(TcpStream, String), Failure> {
        let (node, addresses) =
            (self.session.connection.node.clone(), vec![self.session.connection.address.clone()]);
        let target = Target { node, addresses, families: vec![Family::V4, Family::V6], port };
        dial(&target, "engine").await.map(|dialled| (dialled.stream, dialled.address))
    }

    async fn look(&self) -> Result<Vec<String>, Failure> {
        self.look().await
    }

    async fn look_in_firewall(&self, session: &str) -> Result<Vec<String>, Failure> {
        self.look_in_firewall(session).await
    }

    async fn has_process(&self, pid: u32, dir: Option<&str>) -> Result<bool, Failure> {
        self.has_process(pid, dir).await
    }

    async fn staged(&self, digests: &[String]) -> Result<StagedPayloads, Failure> {
        self.staged(digests).await
    }

    async fn stage(&self, order: &StageOrder<'_>, sent: impl FnMut(u64) + Send) -> Result<(), Failure> {
        self.stage(order, sent).await
    }

    async fn release_staged(&self) -> Result<(), Failure> {
        self.release_staged().await
    }

    async fn remove_staged(&self, digests: &[String]) -> Result<(), Failure> {
        self.remove_staged(digests).await
    }

    fn is_closed(&self) -> bool {
        self.session.connection.is_closed()
    }

    async fn close(&self) {
        self.session.connection.close().await;
    }
}
