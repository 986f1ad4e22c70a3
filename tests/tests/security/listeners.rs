//! Only this machine can connect, and no page of another site is answered.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpStream};

use reqwest::StatusCode;
use shop_tests::{PATIENCE, shop};

/// `/proc/net`'s files by protocol, with the state in which a socket takes in what others send: a TCP
/// socket that listens (`TCP_LISTEN`), a UDP socket that is not connected (`TCP_CLOSE`).
const TABLES: [(&str, &str); 4] = [("tcp", "0A"), ("tcp6", "0A"), ("udp", "07"), ("udp6", "07")];

/// This process and all that descend from it.
fn process_tree() -> BTreeSet<u32> {
    let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for entry in fs::read_dir("/proc").unwrap() {
        let name = entry.unwrap().file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        // A process may end while this reads.
        let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else {
            continue;
        };
        // The name is in parentheses and may hold anything; then come state and parent.
        let parent = stat.rsplit_once(") ").unwrap().1.split(' ').nth(1);
        let parent = parent.unwrap().parse().unwrap();
        children.entry(parent).or_default().push(pid);
    }
    let mut tree = BTreeSet::new();
    let mut found = vec![std::process::id()];
    while let Some(pid) = found.pop() {
        tree.insert(pid);
        found.extend(children.remove(&pid).unwrap_or_default());
    }
    tree
}

/// Inodes of the sockets that a process has open.
fn sockets(pid: u32) -> Vec<String> {
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd"));
    let links = descriptors.into_iter().flatten().flatten();
    let links = links.filter_map(|entry| fs::read_link(entry.path()).ok());
    let inode = |link: std::path::PathBuf| {
        let inode = link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?;
        Some(inode.to_owned())
    };
    links.filter_map(inode).collect()
}

/// An address as `/proc/net` writes it: 32-bit words in hexadecimal, each in the machine's byte order.
fn address(hex: &str) -> IpAddr {
    let words = (0..hex.len()).step_by(8).map(|at| &hex[at..at + 8]);
    let bytes: Vec<u8> = words
        .flat_map(|word| u32::from_str_radix(word, 16).unwrap().to_ne_bytes())
        .collect();
    match <[u8; 4]>::try_from(bytes.as_slice()) {
        Ok(bytes) => Ipv4Addr::from(bytes).into(),
        Err(_) => Ipv6Addr::from(<[u8; 16]>::try_from(bytes).unwrap()).to_canonical(),
    }
}

/// Where the stack listens: HTTP API, control, AWS endpoint, and the Runtime API of each environment.
fn listening() -> Vec<(&'static str, IpAddr, u16)> {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    // Starts an execution environment, whose Runtime API is a listener too.
    runtime
        .block_on(shop().get("/products"))
        .expect(StatusCode::OK);

    let processes = process_tree();
    assert!(processes.len() >= 3, "{processes:?}"); // this one, the guard of its children, an environment
    let ours: BTreeSet<String> = processes.iter().copied().flat_map(sockets).collect();
    let mut listening = Vec::new();
    for (table, state) in TABLES {
        let Ok(text) = fs::read_to_string(format!("/proc/net/{table}")) else {
            assert!(table.ends_with('6'), "{table} is missing"); // a machine may have no IPv6
            continue;
        };
        for line in text.lines().skip(1) {
            let columns: Vec<_> = line.split_whitespace().collect();
            let (local, inode) = (columns[1], columns[9]);
            if columns[3] == state && ours.contains(inode) {
                let (host, port) = local.split_once(':').unwrap();
                let port = u16::from_str_radix(port, 16).unwrap();
                listening.push((table, address(host), port));
            }
        }
    }
    assert!(listening.len() >= 4, "{listening:?}");
    listening
}

#[test]
#[cfg_attr(
    not(target_os = "linux"),
    ignore = "sockets are found through /proc, which only Linux has"
)]
fn whatever_listens_listens_on_loopback() {
    for (table, address, port) in listening() {
        assert!(address.is_loopback(), "{table} {address} {port}");
    }
}

/// As a browser sends the request of a page: with the page's origin, or with the page's own host name,
/// which its owner has pointed to 127.0.0.1.
#[test]
#[cfg_attr(
    not(target_os = "linux"),
    ignore = "sockets are found through /proc, which only Linux has"
)]
fn whatever_listens_answers_no_page_of_another_site() {
    let mut encrypted = 0;
    for (_, address, port) in listening() {
        for from in [
            "Host: 127.0.0.1\r\nOrigin: https://evil.example",
            "Host: 127.0.0.1\r\nOrigin: null",
            "Host: evil.example",
        ] {
            for line in [
                "GET /2018-06-01/runtime/invocation/next",
                "GET /products",
                "GET /meter",
                "OPTIONS /products",
                "POST /meter/reset",
            ] {
                let request = format!("{line} HTTP/1.1\r\n{from}\r\nConnection: close\r\n\r\n");
                let mut stream = TcpStream::connect((address, port)).unwrap();
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                stream.write_all(request.as_bytes()).unwrap();
                let mut answer = Vec::new();
                // The AWS endpoint speaks TLS alone and breaks off; its own test speaks it.
                let _ = stream.read_to_end(&mut answer);
                if answer.starts_with(b"HTTP/") {
                    let answer = String::from_utf8_lossy(&answer);
                    assert!(
                        answer.starts_with("HTTP/1.1 403 "),
                        "{port} {line} {from}: {answer}"
                    );
                    assert!(
                        !answer.to_lowercase().contains("access-control"),
                        "{answer}"
                    );
                } else {
                    encrypted += 1;
                }
            }
        }
    }
    assert_eq!(encrypted, 15, "one listener alone speaks TLS");
}

#[test]
fn addresses_are_read_as_the_kernel_writes_them() {
    let word = |bytes: [u8; 4]| format!("{:08X}", u32::from_ne_bytes(bytes));
    let zero = "0".repeat(8);

    assert_eq!(address(&word([127, 0, 0, 1])), Ipv4Addr::LOCALHOST);
    assert!(address(&zero).is_unspecified());
    let loopback = format!("{zero}{zero}{zero}{}", word([0, 0, 0, 1]));
    assert_eq!(address(&loopback), Ipv6Addr::LOCALHOST);
    let mapped = format!(
        "{zero}{zero}{}{}",
        word([0, 0, 255, 255]),
        word([10, 0, 0, 1])
    );
    assert!(!address(&mapped).is_loopback());
}
