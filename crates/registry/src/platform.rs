//! Which image of an index is for a platform.

use tare_types::{Descriptor, Platform, image::Index};

/// The manifest in `index` that fits `platform` best; the first of equals.
///
/// Entries without a platform stand behind all that fit; attestations (`unknown/unknown`) are never chosen.
pub fn choose_platform<'a>(index: &'a Index, platform: &Platform) -> Option<&'a Descriptor> {
    let rank = |descriptor: &Descriptor| match &descriptor.platform {
        Some(have) => have.rank_for(platform),
        None if tare_types::image::media::is_manifest(&descriptor.media_type) => Some(u32::MAX),
        None => None,
    };
    let ranked = index.manifests.iter().filter_map(|entry| rank(entry).map(|rank| (rank, entry)));
    ranked.min_by_key(|(rank, _)| *rank).map(|(_, entry)| entry)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tare_types::{Digest, image::media};

    fn entry(platform: &str, name: &str) -> Descriptor {
        let mut descriptor = Descriptor::new(media::OCI_MANIFEST, Digest::of_bytes(name.as_bytes()), 1);
        if !platform.is_empty() {
            let mut parts = platform.split('/').map(str::to_string);
            descriptor.platform = Some(Platform {
                os: parts.next().unwrap(),
                architecture: parts.next().unwrap(),
                variant: parts.next().unwrap_or_default(),
                ..Platform::default()
            });
        }
        descriptor
    }

    #[test]
    fn the_best_fit_is_chosen() {
        let manifests = vec![
            entry("unknown/unknown", "attestation"),
            entry("", "bare"),
            entry("linux/arm64/v8", "arm64"),
            entry("linux/arm/v6", "arm6"),
            entry("linux/arm/v7", "arm7"),
            entry("linux/amd64", "amd64"),
        ];
        let index = Index {
            schema_version: 2,
            media_type: String::new(),
            manifests,
            annotations: Default::default(),
        };
        let choose = |text: &str| {
            let chosen = choose_platform(&index, &Platform::parse(text).unwrap()).unwrap();
            ["bare", "arm64", "arm6", "arm7", "amd64"]
                .into_iter()
                .find(|name| chosen.digest == Digest::of_bytes(name.as_bytes()))
                .unwrap()
        };
        assert_eq!(choose("linux/amd64"), "amd64");
        assert_eq!(choose("linux/arm64"), "arm64");
        assert_eq!(choose("linux/arm/v7"), "arm7");
        assert_eq!(choose("linux/riscv64"), "bare");
    }
}
