//! The words of mount options (runc's table and mount(8)'s).

use alloc::{
    string::{String, ToString},
    vec::Vec,
};

const RDONLY: u64 = 0x1;
const NOSUID: u64 = 0x2;
const NODEV: u64 = 0x4;
const NOEXEC: u64 = 0x8;
const ATIME: u64 = 0x70;
const NOATIME: u64 = 0x10;
const STRICTATIME: u64 = 0x20;
const NODIRATIME: u64 = 0x80;
const NOSYMFOLLOW: u64 = 0x20_0000;
/// Those that a mount namespace of a user namespace may not clear of a mount that it was given.
pub(crate) const LOCKABLE: u64 = RDONLY | NOSUID | NODEV | NOEXEC;
const PLAIN: u64 = LOCKABLE | NOSYMFOLLOW;

const UNBINDABLE: u64 = 1 << 17;
const PRIVATE: u64 = 1 << 18;
const SLAVE: u64 = 1 << 19;
const SHARED: u64 = 1 << 20;

/// `MOUNT_ATTR_*` to set and to clear.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Attributes {
    pub(crate) set: u64,
    pub(crate) clear: u64,
}

impl Attributes {
    fn apply(&mut self, change: Self) {
        self.clear = (self.clear & !change.set) | change.clear;
        self.set = (self.set & !change.clear) | change.set;
        // The kernel takes a value of the access time field only together with clearing the field.
        if change.set & ATIME != 0 || change.clear & ATIME != 0 {
            self.clear |= ATIME;
            self.set = (self.set & !ATIME) | (change.set & ATIME);
        }
    }

    /// Both, `later` after these.
    pub(crate) fn then(mut self, later: Self) -> Self {
        self.apply(later);
        self
    }

    pub(crate) fn is_empty(self) -> bool {
        self == Self::default()
    }

    /// What may be applied to a mount with these attributes on behalf of a user namespace: a clearing that no word asked
    /// for is left out. `None` if what was asked for would weaken the mount.
    pub(crate) fn within(self, source: u64, explicit: Self) -> Option<Self> {
        let times = ATIME | NODIRATIME;
        let weakens = explicit.clear & source & LOCKABLE != 0;
        let retimes = self.clear & ATIME != 0 && self.set & times != source & times;
        (!weakens && !retimes).then_some(Self { set: self.set, clear: self.clear & !(source & LOCKABLE) })
    }

    pub(crate) fn is_readonly(self) -> bool {
        self.set & RDONLY != 0
    }

    pub(crate) fn without_readonly(self) -> Self {
        Self { set: self.set & !RDONLY, ..self }
    }
}

/// The options of one mount, sorted by what they are for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Options {
    /// `bind` or `rbind`, and whether it was the latter.
    pub(crate) bind: Option<bool>,
    pub(crate) remount: bool,
    pub(crate) attributes: Attributes,
    /// Some word was about the attributes of the mount, if only to clear one.
    pub(crate) names_attributes: bool,
    /// Some word chose how access times are kept.
    pub(crate) names_times: bool,
    /// For the mount and all below it (`rro`, `rnosuid`).
    pub(crate) recursive: Attributes,
    /// `MS_*` and whether for all below.
    pub(crate) propagation: Option<(u32, bool)>,
    pub(crate) copy_up: bool,
    /// `idmap` or `ridmap`, and whether it was the latter.
    pub(crate) idmap: Option<bool>,
    /// What is left for the file system: name and value.
    pub(crate) data: Vec<(String, Option<String>)>,
}

impl Options {
    pub(crate) fn parse(words: &[String]) -> Self {
        let mut options = Self::default();
        for word in words {
            options.add(word);
        }
        options
    }

    fn add(&mut self, word: &str) {
        if let Some(change) = attribute(word) {
            self.names_attributes = true;
            self.names_times |= matches!(word, "noatime" | "strictatime" | "relatime" | "nodiratime");
            self.attributes.apply(change);
        } else if let Some(change) = word.strip_prefix('r').and_then(attribute) {
            self.recursive.apply(change);
        } else if let Some(propagation) = propagation(word) {
            self.propagation = Some(propagation);
        } else {
            self.add_other(word);
        }
    }

    /// What a bind mount changes of its source's attributes (runc's rule): nothing if no word is about them; else those
    /// that are not named are cleared. How access times are kept changes only by a word that chooses it.
    pub(crate) fn of_bind(&self) -> Attributes {
        if !self.names_attributes {
            return Attributes::default();
        }
        let times = if self.names_times { ATIME | NODIRATIME } else { 0 };
        let set = self.attributes.set & (PLAIN | times);
        // The field of access times is cleared as a whole, also to set it.
        Attributes { set, clear: (PLAIN | times) & !(set & !ATIME) }
    }

    fn add_other(&mut self, word: &str) {
        match word {
            "bind" => self.bind = Some(self.bind.unwrap_or(false)),
            "rbind" => self.bind = Some(true),
            "remount" => self.remount = true,
            "tmpcopyup" => self.copy_up = true,
            "idmap" => self.idmap = Some(false),
            "ridmap" => self.idmap = Some(true),
            // The default of its kind, or without meaning for the kernel.
            "" | "defaults" | "async" | "nomand" | "nolazytime" | "loud" | "noiversion" => {}
            "silent" | "rnorelatime" | "rnostrictatime" => {}
            "norelatime" | "nostrictatime" => self.names_attributes = true,
            word => {
                let (key, value) =
                    word.split_once('=').map_or((word, None), |(key, value)| (key, Some(value)));
                self.data.push((key.to_string(), value.map(ToString::to_string)));
            }
        }
    }
}

/// A propagation word: `MS_*` and whether for all below.
pub(crate) fn propagation(word: &str) -> Option<(u32, bool)> {
    let recursive = word.len() > 1 && matches!(word, "rprivate" | "rshared" | "rslave" | "runbindable");
    let flag = match if recursive { &word[1..] } else { word } {
        "private" => PRIVATE,
        "shared" => SHARED,
        "slave" => SLAVE,
        "unbindable" => UNBINDABLE,
        _ => return None,
    };
    Some((flag as u32, recursive))
}

fn attribute(word: &str) -> Option<Attributes> {
    let set = |set| Some(Attributes { set, clear: 0 });
    let clear = |clear| Some(Attributes { set: 0, clear });
    match word {
        "ro" => set(RDONLY),
        "rw" => clear(RDONLY),
        "nosuid" => set(NOSUID),
        "suid" => clear(NOSUID),
        "nodev" => set(NODEV),
        "dev" => clear(NODEV),
        "noexec" => set(NOEXEC),
        "exec" => clear(NOEXEC),
        "noatime" => set(NOATIME),
        "atime" => clear(NOATIME),
        "strictatime" => set(STRICTATIME),
        "relatime" => clear(ATIME),
        "nodiratime" => set(NODIRATIME),
        "diratime" => clear(NODIRATIME),
        "nosymfollow" => set(NOSYMFOLLOW),
        "symfollow" => clear(NOSYMFOLLOW),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Options {
        Options::parse(&words.iter().map(ToString::to_string).collect::<Vec<_>>())
    }

    #[test]
    fn words_are_sorted() {
        let options =
            parse(&["rbind", "ro", "nosuid", "suid", "rprivate", "rnoexec", "size=64k", "newinstance"]);
        assert_eq!(options.bind, Some(true));
        assert_eq!(options.attributes, Attributes { set: RDONLY, clear: NOSUID });
        assert_eq!(options.recursive, Attributes { set: NOEXEC, clear: 0 });
        assert_eq!(options.propagation, Some((PRIVATE as u32, true)));
        let data = [("size".to_string(), Some("64k".to_string())), ("newinstance".to_string(), None)];
        assert_eq!(options.data, data);
    }

    #[test]
    fn a_bind_mount_keeps_or_replaces_attributes() {
        assert!(parse(&["rbind", "rprivate"]).of_bind().is_empty());
        assert_eq!(parse(&["bind", "ro"]).of_bind(), Attributes { set: RDONLY, clear: PLAIN & !RDONLY });
        assert_eq!(parse(&["bind", "dev", "atime"]).of_bind(), Attributes { set: 0, clear: PLAIN });
        let strict = parse(&["bind", "strictatime"]).of_bind();
        assert_eq!(strict, Attributes { set: STRICTATIME, clear: PLAIN | ATIME | NODIRATIME });
        assert_eq!(parse(&["bind", "nodiratime"]).of_bind().clear & (ATIME | NODIRATIME), ATIME);
    }

    #[test]
    fn a_user_namespace_weakens_no_mount() {
        let within = |words: &[&str], source| {
            let options = parse(words);
            options.of_bind().within(source, options.attributes)
        };
        assert_eq!(within(&["bind", "rw"], RDONLY | STRICTATIME), None);
        assert_eq!(within(&["bind", "nodev"], RDONLY).unwrap().clear & LOCKABLE, NOSUID | NOEXEC);
        assert_eq!(within(&["bind", "strictatime"], NOATIME), None);
        assert!(within(&["bind", "strictatime"], STRICTATIME).is_some());
        assert!(within(&["bind", "atime"], NOATIME).is_some());
    }

    #[test]
    fn later_words_win() {
        assert!(!parse(&["ro", "rw"]).attributes.is_readonly());
        assert!(parse(&["rw", "ro"]).attributes.is_readonly());
        assert_eq!(
            parse(&["noatime", "strictatime"]).attributes,
            Attributes { set: STRICTATIME, clear: ATIME }
        );
        // `relatime`, `rw` and `rro` are words of their own, not recursive forms of "elatime", "w" and so on.
        assert_eq!(parse(&["relatime"]).recursive, Attributes::default());
        assert_eq!(parse(&["rro"]).recursive.set, RDONLY);
        assert_eq!(parse(&["rslave"]).propagation, Some((SLAVE as u32, true)));
    }
}
