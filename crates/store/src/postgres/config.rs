//! The URL of a PostgreSQL store, and how its connections are made.

use std::pin::Pin;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::Stream;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tasker_wire::{Error, Kind};
use tokio_postgres::config::SslMode;
use tokio_postgres::{AsyncMessage, Client, Config};
use tokio_postgres_rustls::MakeRustlsConnect;

/// A network that answers nothing for this long is treated as gone.
const SILENCE: Duration = Duration::from_secs(10);
/// Schema of the tables when the URL names none.
const SCHEMA: &str = "tasker";

/// What a connection sends besides answers; polling it drives the connection.
pub(super) type Drive = Pin<Box<dyn Stream<Item = Result<AsyncMessage, tokio_postgres::Error>> + Send>>;

/// How connections are made.
pub(super) struct Settings {
    config: Config,
    tls: MakeRustlsConnect,
    /// Schema of the tables.
    pub(super) schema: String,
    /// Connections go through a pooler that lends a server connection for one transaction only.
    pub(super) pooled: bool,
    /// How steps travel to workers.
    pub(super) transport: Transport,
    /// Whether the URL asks for that transport.
    pub(super) names_transport: bool,
    /// The URL without its password.
    pub(super) shown: String,
}

/// How steps travel to workers; a property of the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Transport {
    /// By rows of the table `ready`.
    Ready = 0,
    /// By PGMQ queues.
    Pgmq = 1,
}

impl Settings {
    /// Reads a URL: `postgres://user:password@host:port/database?…` with libpq's parameters and `schema`, `pooler`
    /// (`transaction`), `queue` (`ready` or `pgmq`), `sslmode` up to `verify-full`, `sslrootcert`.
    pub(super) fn read(url: &str) -> Result<Settings, Error> {
        let shown = shown(url);
        let bad = |why: String| {
            Error::new(Kind::Invalid, "invalid_url", format!("`{shown}` is not a PostgreSQL URL: {why}"))
                .hint("use postgres://user:password@host:5432/database")
        };
        let (base, query) = url.split_once('?').unwrap_or((url, ""));
        let (mut rest, mut schema, mut pooled, mut transport) = (Vec::new(), SCHEMA.to_string(), false, None);
        let (mut verify, mut root) = (false, None);
        for pair in query.split('&').filter(|p| !p.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            match (key, value) {
                ("schema", name) if is_identifier(name) => schema = name.into(),
                ("schema", _) => return Err(bad("a schema has up to 50 letters, digits and `_`".into())),
                ("pooler", "transaction") => pooled = true,
                ("pooler", "none" | "session") => {}
                ("pooler", _) => return Err(bad("`pooler` is `none`, `session` or `transaction`".into())),
                ("queue", "pgmq") => transport = Some(Transport::Pgmq),
                ("queue", "ready") => transport = Some(Transport::Ready),
                ("queue", _) => return Err(bad("`queue` is `ready` or `pgmq`".into())),
                ("sslmode", "verify-full" | "verify-ca") => {
                    verify = true;
                    rest.push("sslmode=require");
                }
                ("sslmode", "allow") => rest.push("sslmode=prefer"),
                ("sslrootcert", path) => root = Some(path.to_string()),
                _ => rest.push(pair),
            }
        }
        let mut plain = base.to_string();
        if !rest.is_empty() {
            plain.push('?');
            plain.push_str(&rest.join("&"));
        }
        let mut config = Config::from_str(&plain).map_err(|e| bad(reasons(&e)))?;
        if config.get_hosts().is_empty() {
            config.host("localhost");
        }
        if config.get_application_name().is_none() {
            config.application_name("tasker");
        }
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(Duration::from_secs(5));
        }
        config.keepalives_idle(SILENCE).tcp_user_timeout(SILENCE);
        // Without encryption it is not used; a second type of connection would have all of the client compiled twice.
        let encrypted = config.get_ssl_mode() != SslMode::Disable;
        let root = root.as_deref().filter(|_| encrypted);
        let tls = MakeRustlsConnect::new(tls(verify && encrypted, root)?);
        let names_transport = transport.is_some();
        let transport = transport.unwrap_or(Transport::Ready);
        Ok(Settings { config, tls, schema, pooled, transport, names_transport, shown })
    }

    /// Whether the tables lie in the schema nobody chose.
    pub(super) fn has_default_schema(&self) -> bool {
        self.schema == SCHEMA
    }

    /// Opens a connection.
    pub(super) async fn connect(&self) -> Result<(Client, Drive), tokio_postgres::Error> {
        let (client, mut connection) = self.config.connect(self.tls.clone()).await?;
        Ok((client, Box::pin(futures_util::stream::poll_fn(move |cx| connection.poll_message(cx)))))
    }
}

/// Whether a name can stand in a statement between double quotes.
fn is_identifier(name: &str) -> bool {
    (1..=50).contains(&name.len())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        && !name.starts_with("pg_")
}

/// An error with what caused it.
pub(super) fn reasons(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

/// The URL with its password starred out.
fn shown(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.into() };
    let (rest, query) = rest.split_once('?').map_or((rest, None), |(r, q)| (r, Some(q)));
    let rest = match rest.rsplit_once('@') {
        Some((who, at)) => match who.split_once(':') {
            Some((user, _)) => format!("{user}:***@{at}"),
            None => format!("{who}@{at}"),
        },
        None => rest.into(),
    };
    let query: Vec<String> = query
        .into_iter()
        .flat_map(|q| q.split('&'))
        .map(|pair| if pair.starts_with("password=") { "password=***".into() } else { pair.to_string() })
        .collect();
    let question = if query.is_empty() { "" } else { "?" };
    format!("{scheme}://{rest}{question}{}", query.join("&"))
}

fn tls(verify: bool, root: Option<&str>) -> Result<ClientConfig, Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let refused = |what: String| Error::new(Kind::Invalid, "invalid_url", what).hint("see `sslmode` and `sslrootcert`");
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|e| refused(format!("TLS cannot be set up: {e}")))?;
    if !verify && root.is_none() {
        return Ok(builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Unverified(provider)))
            .with_no_client_auth());
    }
    let mut roots = RootCertStore::empty();
    match root {
        Some(path) => {
            let certificates = CertificateDer::pem_file_iter(path)
                .and_then(|all| all.collect::<Result<Vec<_>, _>>())
                .map_err(|e| refused(format!("cannot read the certificates in {path}: {e}")))?;
            roots.add_parsable_certificates(certificates);
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    if roots.is_empty() {
        return Err(refused("there is no certificate authority to verify the server by".into()));
    }
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

/// `sslmode=require` as libpq means it: encrypted, the certificate taken as it is.
#[derive(Debug)]
struct Unverified(Arc<rustls::crypto::CryptoProvider>);

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_never_shown() {
        assert_eq!(shown("postgres://me:secret@db:5432/x?schema=s"), "postgres://me:***@db:5432/x?schema=s");
        assert_eq!(shown("postgres://me:a@b@db/x"), "postgres://me:***@db/x");
        assert_eq!(shown("postgres://db/x?user=me&password=secret"), "postgres://db/x?user=me&password=***");
        let error = Settings::read("postgres://me:secret@db:port/x").err().expect("a bad port");
        assert!(!format!("{error:?}").contains("secret"), "{error:?}");
    }

    #[test]
    fn what_goes_into_statements_is_checked() {
        for bad in ["schema=a%22", "schema=", "schema=a-b", "schema=pg_x", "pooler=maybe", "queue=rabbit"] {
            let error = Settings::read(&format!("postgres://db/x?{bad}")).err().expect(bad);
            assert_eq!(error.code, "invalid_url", "{bad}");
        }
    }
}
