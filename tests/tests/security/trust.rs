//! The certificates that the functions accept when no roots are handed to them, as on AWS. The real `get-product`
//! is watched as it starts: its priming call is the handshake.

#![cfg(target_os = "linux")] // it looks into /proc

use std::fs;
use std::io::Read;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use shop_tests::{PATIENCE, shop, target};

/// Where distributions keep the system's store. Amazon Linux has it at the second.
const STORES: [&str; 3] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
];

/// Bytes that `get-product` has read when it asks for its first event.
fn read_in_init(endpoint: &str) -> u64 {
    let runtime_api = TcpListener::bind("127.0.0.1:0").unwrap();
    let function = Function(
        Command::new(target().join("get-product"))
            .env_clear()
            .envs([
                ("AWS_LAMBDA_FUNCTION_NAME", "get-product"),
                ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST"),
                ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128"),
                ("AWS_LAMBDA_LOG_GROUP_NAME", "group"),
                ("AWS_LAMBDA_LOG_STREAM_NAME", "stream"),
                ("AWS_REGION", "us-east-1"),
                ("AWS_ACCESS_KEY_ID", "GetProduct"),
                ("AWS_SECRET_ACCESS_KEY", "local"),
                ("PRODUCTS_TABLE", "local-ProductsTable"),
            ])
            .env("AWS_ENDPOINT_URL", endpoint)
            .env(
                "AWS_LAMBDA_RUNTIME_API",
                runtime_api.local_addr().unwrap().to_string(),
            )
            .stdout(Stdio::null())
            .spawn()
            .unwrap(),
    );
    let (mut connection, _) = runtime_api.accept().unwrap();
    connection.read_exact(&mut [0; 3]).unwrap(); // it asks, so init is over
    let io = fs::read_to_string(format!("/proc/{}/io", function.0.id())).unwrap();
    let read = io.lines().find_map(|line| line.strip_prefix("rchar: "));
    read.unwrap().parse().unwrap()
}

struct Function(Child);

impl Drop for Function {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_system_s_store_is_read_when_a_certificate_needs_it_and_not_before() {
    let store = STORES.iter().find_map(|path| fs::metadata(path).ok());
    let store = store.expect("this machine trusts somebody").len();

    let unneeded = read_in_init("http://127.0.0.1:1");
    assert!(unneeded < store, "{unneeded} bytes of {store}");

    let patience = Instant::now() + PATIENCE;
    loop {
        let needed = read_in_init(&shop().stack().aws.endpoint_url);
        if needed >= store {
            return;
        }
        // A busy machine may not come to the certificate before priming is given up.
        assert!(Instant::now() < patience, "{needed} bytes of {store}");
    }
}
