//! Whether Lambda can run the functions' binaries.

use std::io::ErrorKind;
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
    for (_, function) in resources.filter(|(_, resource)| resource["Type"] == FUNCTION) {
        let properties = &function["Properties"];
        let folder = properties["CodeUri"].as_str();
        let Some(folder) = folder.filter(|uri| !uri.contains("://")) else {
            continue;
        };
        let file = Path::new(folder).join("bootstrap");
        let wanted = properties["Architectures"][0].as_str().unwrap_or("x86_64");
        let checked = check_binary(&base.join(&file), wanted);
        checked.map_err(|why| format!("{} {why}", file.display()))?;
    }
    Ok(())
}

/// `wanted` is a processor by Lambda's name of it.
fn check_binary(file: &Path, wanted: &str) -> Result<(), String> {
    let code = std::fs::read(file).map_err(|error| match error.kind() {
        ErrorKind::NotFound => "is missing".to_owned(),
        _ => format!("cannot be read: {error}"),
    })?;
    // A 64-bit little-endian ELF file, and `e_machine`: https://refspecs.linuxfoundation.org/elf/gabi4+/ch4.eheader.html
    let found = match (code.get(..6), code.get(18..20)) {
        (Some(b"\x7fELF\x02\x01"), Some([0x3e, 0])) => "x86_64",
        (Some(b"\x7fELF\x02\x01"), Some([0xb7, 0])) => "arm64",
        _ => return Err("is no 64-bit Linux executable".to_owned()),
    };
    if found != wanted {
        return Err(format!(
            "is built for {found}, and the function is to run on {wanted}"
        ));
    }
    // A binary names the versions of the symbols that it needs, such as `GLIBC_2.34`.
    let text = String::from_utf8_lossy(&code);
    let versions = text.split("GLIBC_2.").skip(1);
    let minors = versions.filter_map(|it| {
        it.split(|c: char| !c.is_ascii_digit())
            .next()?
            .parse::<u32>()
            .ok()
    });
    match minors.max() {
        Some(newest) if newest > LAMBDA_GLIBC => Err(format!(
            "needs glibc 2.{newest} of this machine, and Lambda has 2.{LAMBDA_GLIBC}"
        )),
        _ => Ok(()),
    }
}
