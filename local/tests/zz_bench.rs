mod support;
use support::*;
use serde_json::json;
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bench() {
    let host = TestHost::new();
    let f = host.start(host.spec("Bench")).await.unwrap();
    for pause in [0u64, 5] {
        let mut v = vec![];
        for _ in 0..2000 {
            let t = std::time::Instant::now();
            invoke(&f, json!({})).await;
            v.push(t.elapsed());
            if pause > 0 { tokio::time::sleep(std::time::Duration::from_millis(pause)).await; }
        }
        v.sort();
        println!("pause {pause}: p50 {:?} p99 {:?}", v[1000], v[1980]);
    }
    let log = host.log("Bench");
    let mut d: Vec<f64> = log.lines().filter_map(|l| field(l, "Duration")).map(|x| x.parse().unwrap()).collect();
    d.sort_by(f64::total_cmp); println!("duration p50 {}", d[d.len()/2]);
    let mut d: Vec<f64> = log.lines().filter_map(|l| field(l, "CPU Time")).map(|x| x.parse().unwrap()).collect();
    d.sort_by(f64::total_cmp); println!("cpu p50 {}", d[d.len()/2]);
    println!("envs {}", log.matches("Init Duration").count());
    f.shutdown().await;
}
