//! Whether Lambda can run the functions' binaries.

use std::io::Read;
use std::path::Path;

use serde_json::Value;

use crate::names::FUNCTION;

/// The minor version of glibc 2 in Amazon Linux 2023: <https://docs.aws.amazon.com/linux/al2023/ug/compare-with-al2.html>
const LAMBDA_GLIBC: u32 = 34;

/// Checks that each function's `bootstrap` is there, is built for the processor that its `Architectures` name (`x86_64`
/// unless set), and needs no newer C library than Lambda has. `template` is what [`crate::to_json`] gives, `base` the
/// folder that `CodeUri` is relative to. A function whose code stands in the template, or is in S3, has no such file.
///
/// # Errors
/// The first binary that Lambda could not run, and why.
pub fn check_code(template: &Value, base: &Path) -> Result<(), String> {
    let resources = template["Resources"].as_object().into_iter().flatten();
    for (_, resource) in resources.filter(|(_, resource)| resource["Type"] == FUNCTION) {
        let properties = &resource["Properties"];
        let Some(folder) = properties["CodeUri"]
            .as_str()
            .filter(|uri| !uri.contains("://"))
        else {
            continue;
        };
        let wanted = properties["Architectures"][0].as_str().unwrap_or("x86_64");
        let file = Path::new(folder).join("bootstrap");
        mistake(&base.join(&file), wanted).map_or(Ok(()), |mistake| {
            Err(format!("{} {mistake}", file.display()))
        })?;
    }
    Ok(())
}

/// Why Lambda could not run an executable on a processor, by Lambda's name of it.
fn mistake(file: &Path, wanted: &str) -> Option<String> {
    let mut code = Vec::new();
    if let Err(error) = std::fs::File::open(file).and_then(|mut it| it.read_to_end(&mut code)) {
        return Some(match error.kind() {
            std::io::ErrorKind::NotFound => "is missing".to_owned(),
            _ => format!("cannot be read: {error}"),
        });
    }
    // A 64-bit little-endian ELF file, and `e_machine`: https://refspecs.linuxfoundation.org/elf/gabi4+/ch4.eheader.html
    let found = match (code.get(..6), code.get(18..20)) {
        (Some(b"\x7fELF\x02\x01"), Some([0x3e, 0])) => "x86_64",
        (Some(b"\x7fELF\x02\x01"), Some([0xb7, 0])) => "arm64",
        _ => return Some("is no 64-bit Linux executable".to_owned()),
    };
    if found != wanted {
        return Some(format!(
            "is built for {found}, and the function is to run on {wanted}"
        ));
    }
    // A binary names the versions of the symbols that it needs, such as `GLIBC_2.34`.
    let name = b"GLIBC_2.";
    let versions = code
        .windows(name.len())
        .enumerate()
        .filter(|(_, it)| it == name);
    let minors = versions.filter_map(|(at, _)| {
        let digits = code[at + name.len()..]
            .iter()
            .take_while(|it| it.is_ascii_digit());
        digits
            .map(|&it| char::from(it))
            .collect::<String>()
            .parse()
            .ok()
    });
    let newest: u32 = minors.max().unwrap_or(0);
    (newest > LAMBDA_GLIBC)
        .then(|| format!("needs glibc 2.{newest} of this machine, and Lambda has 2.{LAMBDA_GLIBC}"))
}
