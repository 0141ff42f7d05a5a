//! Locks what `up` runs: everybody is somebody to everybody else, and may do what it must and no more.
//!
//! In the flow: `secrets` → **`security`** → `layout`, `haproxy`. What Kafka's principals and Elasticsearch's users may
//! do is what docs/access.md tells operators; the roles are those of `deploy/elasticsearch/roles.yml`.
//! Not here: how a secret is made (`secrets`).

use std::path::PathBuf;

use anyhow::Result;
use toml::{Table, Value};

use super::secrets::{Secrets, basic, hashed};
use crate::engines::elasticsearch::Node;
use crate::engines::kafka::Broker;
use crate::engines::kafka_tools::Grant;
use crate::services::Wiring;

/// The roles as they ship.
pub(crate) const ROLES: &str = include_str!("../../../deploy/elasticsearch/roles.yml");
/// Kafka's users, by SCRAM. `broker` and `admin` may do everything; what the others may is in [`grants`].
const KAFKA_USERS: [&str; 5] = ["broker", "admin", "ingest-gateway", "es-sink", "query-api"];
/// Elasticsearch's users with their roles. `admin` is there for what no service does.
const ELASTICSEARCH_USERS: [(&str, &str); 4] = [
    ("es-sink", "logflow_es_sink"),
    ("query-api", "logflow_query_api"),
    ("operator", "logflow_operator"),
    ("admin", "superuser"),
];
/// API keys with their scopes: who sends, who reads, who mends, who watches.
pub const KEYS: [(&str, &str); 4] = [
    ("shipper", "ingest"),
    ("reader", "query,tail,export"),
    ("operator", "query,admin,observe"),
    ("monitor", "observe"),
];

/// Everything that stands between the parts and strangers.
#[derive(Debug, Clone)]
pub struct Security {
    /// The files.
    pub secrets: Secrets,
}

impl Security {
    /// Writes what does not depend on a part: how administrators sign in.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn new(secrets: Secrets) -> Result<Self> {
        let security = Self { secrets };
        let password = security.secrets.password("kafka-admin")?;
        let properties = format!(
            "security.protocol=SASL_SSL\nsasl.mechanism=SCRAM-SHA-512\nsasl.jaas.config={}\n\
             ssl.truststore.type=PEM\nssl.truststore.location={}\n",
            login_module("admin", &password),
            security.secrets.authority().display()
        );
        security
            .secrets
            .put("kafka-admin.properties", &properties)?;
        for (user, _) in ELASTICSEARCH_USERS {
            security.write_credentials(user)?;
        }
        Ok(security)
    }

    /// How administrators sign in to Kafka.
    #[must_use]
    pub fn kafka_admin(&self) -> PathBuf {
        self.secrets.path("kafka-admin.properties")
    }

    /// Lets a broker take nobody without a password, and no other controller without a certificate.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn lock_broker(&self, broker: &mut Broker, brokers: &[String]) -> Result<()> {
        self.lock_broker_as("broker", broker, brokers)
    }

    /// The same, where brokers sign in to each other as `user`: `broker`, or `broker-2` when that one's password is
    /// replaced.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn lock_broker_as(
        &self,
        user: &str,
        broker: &mut Broker,
        brokers: &[String],
    ) -> Result<()> {
        let keystore = self.secrets.keystore(&broker.name)?;
        let authority = self.secrets.authority();
        let (port, controller) = (broker.port, broker.controller_port);
        let own = self.secrets.password(&format!("kafka-{user}"))?;
        let super_users: String = brokers
            .iter()
            .map(|name| format!(";User:CN={name}"))
            .collect();
        let settings = [
            (
                "listeners",
                format!("SASL_SSL://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}"),
            ),
            (
                "advertised.listeners",
                format!("SASL_SSL://localhost:{port}"),
            ),
            (
                "listener.security.protocol.map",
                "SASL_SSL:SASL_SSL,CONTROLLER:SSL".to_owned(),
            ),
            ("inter.broker.listener.name", "SASL_SSL".to_owned()),
            ("sasl.enabled.mechanisms", "SCRAM-SHA-512".to_owned()),
            (
                "sasl.mechanism.inter.broker.protocol",
                "SCRAM-SHA-512".to_owned(),
            ),
            (
                "listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config",
                login_module(user, &own),
            ),
            (
                "listener.name.controller.ssl.client.auth",
                "required".to_owned(),
            ),
            ("ssl.keystore.type", "PEM".to_owned()),
            ("ssl.keystore.location", keystore.display().to_string()),
            ("ssl.truststore.type", "PEM".to_owned()),
            ("ssl.truststore.location", authority.display().to_string()),
            (
                "authorizer.class.name",
                "org.apache.kafka.metadata.authorizer.StandardAuthorizer".to_owned(),
            ),
            (
                "super.users",
                format!("User:broker;User:broker-2;User:admin{super_users}"),
            ),
            // Whoever misspells a topic has made none.
            ("auto.create.topics.enable", "false".to_owned()),
        ];
        broker.settings = owned(settings);
        broker.users = KAFKA_USERS
            .into_iter()
            .map(|user| {
                Ok((
                    user.to_owned(),
                    self.secrets.password(&format!("kafka-{user}"))?,
                ))
            })
            .collect::<Result<_>>()?;
        broker.authority = Some(authority);
        Ok(())
    }

    /// Lets a node take nobody without a password, and no other node without a certificate.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn lock_node(&self, node: &mut Node) -> Result<()> {
        let settings = [
            ("xpack.security.enabled", "true"),
            ("xpack.security.http.ssl.enabled", "true"),
            ("xpack.security.http.ssl.key", "node.key"),
            ("xpack.security.http.ssl.certificate", "node.pem"),
            ("xpack.security.transport.ssl.enabled", "true"),
            ("xpack.security.transport.ssl.key", "node.key"),
            ("xpack.security.transport.ssl.certificate", "node.pem"),
            (
                "xpack.security.transport.ssl.certificate_authorities",
                "[ \"authority.pem\" ]",
            ),
            // A changed role, password or certificate counts after a second.
            ("resource.reload.interval.high", "1s"),
        ];
        node.settings
            .extend(owned(settings.map(|(key, value)| (key, value.to_owned()))));
        node.files = self.node_certificate(&node.name)?;
        node.files.extend([
            (
                "authority.pem".to_owned(),
                self.secrets.read("authority.pem")?,
            ),
            ("users".to_owned(), self.elasticsearch_users()?),
            ("users_roles".to_owned(), users_roles()),
            ("roles.yml".to_owned(), ROLES.to_owned()),
        ]);
        node.client = self.secrets.client("elasticsearch-admin");
        Ok(())
    }

    /// A new certificate for a node, as files of its configuration.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn node_certificate(&self, name: &str) -> Result<Vec<(String, String)>> {
        self.secrets.certificate(name)?;
        Ok(vec![
            (
                "node.key".to_owned(),
                self.secrets.read(&format!("{name}.key"))?,
            ),
            (
                "node.pem".to_owned(),
                self.secrets.read(&format!("{name}.pem"))?,
            ),
        ])
    }

    /// The file realm's users with their hashed passwords.
    ///
    /// # Errors
    /// When a password cannot be read or hashed.
    pub fn elasticsearch_users(&self) -> Result<String> {
        ELASTICSEARCH_USERS
            .into_iter()
            .map(|(user, _)| {
                let password = self.secrets.password(&format!("elasticsearch-{user}"))?;
                Ok(format!("{user}:{}\n", hashed(&password)?))
            })
            .collect()
    }

    /// Writes how a user signs in to Elasticsearch: for a service, and for `curl`.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn write_credentials(&self, user: &str) -> Result<()> {
        let password = self.secrets.password(&format!("elasticsearch-{user}"))?;
        let credentials = format!("elasticsearch-{user}.credentials");
        self.secrets
            .put(&credentials, &format!("{user}:{password}\n"))?;
        let header = format!("Authorization: {}\n", basic(user, &password));
        self.secrets
            .put(&format!("elasticsearch-{user}.header"), &header)?;
        Ok(())
    }

    /// Makes the API keys, unless they are there.
    ///
    /// # Errors
    /// When `ingest-gateway keys new` fails or a file cannot be written.
    pub fn ensure_keys(&self, gateway: &std::path::Path) -> Result<()> {
        if self.secrets.path("keys.toml").is_file() {
            return Ok(());
        }
        for (id, scopes) in KEYS {
            self.secrets.renew_key(gateway, id, scopes)?;
        }
        self.secrets.write_keys(&KEYS.map(|(id, _)| id))?;
        let key = self.secrets.read("monitor.key")?;
        self.secrets.put(
            "monitor.credentials",
            &format!("{}\n", key.replacen('.', ":", 1)),
        )?;
        Ok(())
    }

    /// Writes the settings of a service that have to do with secrets, its certificate among them, and gives the flag
    /// that names them.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn lock_service(&self, service: &str, name: &str) -> Result<[String; 2]> {
        let certificate = self.secrets.certificate(name)?;
        let user = format!("kafka-{service}");
        let mut table = Table::new();
        let mut set = |key: &str, value: Value| table.insert(key.to_owned(), value);
        let text = |path: PathBuf| Value::String(path.display().to_string());
        let authority = || text(self.secrets.authority());
        let properties = [
            "security.protocol=sasl_ssl".to_owned(),
            format!("ssl.ca.location={}", self.secrets.authority().display()),
            "sasl.mechanism=SCRAM-SHA-512".to_owned(),
            format!("sasl.username={service}"),
            format!("sasl.password={}", self.secrets.password(&user)?),
            // `localhost` is also an address of IPv6, where no broker listens here.
            "broker.address.family=v4".to_owned(),
        ];
        set(
            "kafka-property",
            Value::Array(properties.map(Value::String).into()),
        );
        set("tls-cert", text(certificate.certificate));
        set("tls-key", text(certificate.key));
        set("api-keys", text(self.secrets.path("keys.toml")));
        set("guard-operations", Value::Boolean(true));
        if service != "ingest-gateway" {
            let credentials = format!("elasticsearch-{service}.credentials");
            set(
                "elasticsearch-credentials",
                text(self.secrets.path(&credentials)),
            );
            set("elasticsearch-ca", authority());
        }
        if service == "query-api" {
            set(
                "sink-credentials",
                text(self.secrets.path("monitor.credentials")),
            );
            set("sink-ca", authority());
        }
        let file = self
            .secrets
            .put(&format!("{name}.toml"), &table.to_string())?;
        Ok(["--config".to_owned(), file.display().to_string()])
    }
}

/// What each service may do in Kafka.
#[must_use]
pub fn grants(wiring: &Wiring) -> Vec<Grant> {
    let grant = |principal: &str, kind, name: &str, operations| Grant {
        principal: principal.to_owned(),
        kind,
        name: name.to_owned(),
        prefixed: false,
        operations,
    };
    let (topic, letters) = (&wiring.topic, &wiring.dead_letter_topic);
    let read: &[&str] = &["Read", "Describe"];
    let write: &[&str] = &["Write", "Describe"];
    vec![
        grant("ingest-gateway", "topic", topic, write),
        grant("es-sink", "topic", topic, read),
        grant("es-sink", "group", &wiring.group, &["Read"]),
        grant("es-sink", "topic", letters, write),
        Grant {
            prefixed: true,
            ..grant(
                "es-sink",
                "transactional-id",
                &format!("{}-", wiring.group),
                write,
            )
        },
        grant("query-api", "topic", topic, &["Read", "Describe", "Write"]),
        grant(
            "query-api",
            "topic",
            letters,
            &["Read", "Describe", "Write"],
        ),
        grant(
            "query-api",
            "transactional-id",
            &format!("es-sink-redrive-{letters}"),
            write,
        ),
    ]
}

fn users_roles() -> String {
    let line = |(user, role): (&str, &str)| format!("{role}:{user}\n");
    ELASTICSEARCH_USERS.map(line).concat()
}

fn login_module(user: &str, password: &str) -> String {
    let module = "org.apache.kafka.common.security.scram.ScramLoginModule";
    format!("{module} required username=\"{user}\" password=\"{password}\";")
}

fn owned<const N: usize>(settings: [(&str, String); N]) -> Vec<(String, String)> {
    settings.map(|(key, value)| (key.to_owned(), value)).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_service_may_do_what_another_one_is_for() {
        let wiring = Wiring::standard(String::new(), String::new());
        let grants = grants(&wiring);
        let may = |who: &str, operation: &str, name: &str| {
            grants.iter().any(|grant| {
                grant.principal == who
                    && grant.name == name
                    && grant.operations.contains(&operation)
            })
        };
        assert!(may("ingest-gateway", "Write", "logs"));
        assert!(!may("ingest-gateway", "Read", "logs"));
        assert!(!may("es-sink", "Write", "logs"));
        assert!(!may("ingest-gateway", "Write", "logs.dead-letter"));
        assert!(may("es-sink", "Read", "es-sink"));
        assert!(!may("query-api", "Read", "es-sink"));
        assert!(
            grants
                .iter()
                .all(|grant| !grant.operations.contains(&"All"))
        );
    }

    #[test]
    fn every_user_of_elasticsearch_has_a_role_that_ships_or_is_built_in() {
        for (user, role) in ELASTICSEARCH_USERS {
            let ships = ROLES
                .lines()
                .any(|line| line.trim_end() == format!("{role}:"));
            assert!(ships || role == "superuser", "{user}: {role}");
        }
    }
}
