//! Which image of an index is for a platform.

use tare_types::{
    Descriptor, Platform,
    image::{Index, media},
};

/// Where an image for `platform` is to be looked for in `index`: the best fit first, equals in their order.
///
/// Entries without a platform stand behind all that fit; attestations (`unknown/unknown`) are never chosen. The list
/// ends with the first manifest: only an index may turn out to have nothing.
pub fn platform_candidates<'a>(index: &'a Index, platform: &Platform) -> Vec<&'a Descriptor> {
    let is_index = |descriptor: &Descriptor| media::is_index(&descriptor.media_type);
    let rank = |descriptor: &Descriptor| match &descriptor.platform {
        Some(have) => have.rank_for(platform),
        None if media::is_manifest(&descriptor.media_type) || is_index(descriptor) => Some(u32::MAX),
        None => None,
    };
    let mut ranked: Vec<_> =
        index.manifests.iter().filter_map(|entry| rank(entry).map(|rank| (rank, entry))).collect();
    ranked.sort_by_key(|(rank, _)| *rank);
    let last = ranked.iter().position(|(_, entry)| !is_index(entry));
    ranked.truncate(last.map_or(ranked.len(), |last| last + 1));
    ranked.into_iter().map(|(_, entry)| entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tare_types::Digest;

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
            let chosen = platform_candidates(&index, &Platform::parse(text).unwrap())[0];
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
    #[test]
    fn an_index_is_tried_until_a_manifest_ends_the_list() {
        let nested = |name: &str| Descriptor::new(media::OCI_INDEX, Digest::of_bytes(name.as_bytes()), 1);
        let names = |manifests: Vec<Descriptor>| -> Vec<Digest> {
            let index = Index {
                schema_version: 2,
                media_type: String::new(),
                manifests,
                annotations: Default::default(),
            };
            let platform = Platform::parse("linux/amd64").unwrap();
            platform_candidates(&index, &platform).into_iter().map(|entry| entry.digest.clone()).collect()
        };
        let digest = |name: &str| Digest::of_bytes(name.as_bytes());
        assert_eq!(names(vec![nested("a"), entry("linux/amd64", "fits"), nested("b")]), [digest("fits")]);
        assert_eq!(names(vec![nested("a"), entry("", "bare"), nested("b")]), [digest("a"), digest("bare")]);
        assert_eq!(
            names(vec![entry("linux/s390x", "no"), nested("a"), nested("b")]),
            [digest("a"), digest("b")]
        );
        assert!(names(vec![entry("unknown/unknown", "attestation")]).is_empty());
    }
}
