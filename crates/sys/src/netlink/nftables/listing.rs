//! What tables and base chains there are, for those who look for leftovers and for other firewalls.

use super::{
    super::{Batch, Message},
    DELTABLE, Error, GETCHAIN, GETTABLE, Hook, NEWCHAIN, NEWTABLE, Socket, flags,
};
use alloc::{
    string::{String, ToString},
    vec::Vec,
};

/// The names of the tables of a family.
///
/// # Errors
/// The kernel's.
pub fn tables(socket: &mut Socket, family: u8) -> Result<Vec<String>, Error> {
    let mut batch = Batch::new();
    batch.message("list tables", GETTABLE, flags::DUMP, |w| w.header(&[family, 0, 0, 0]));
    let mut names = Vec::new();
    socket.dump(&mut batch, |message| {
        let Some(message) = message else {
            names.clear();
            return Ok(());
        };
        if message.kind != NEWTABLE {
            return Ok(());
        }
        for attribute in message.split::<4>()?.1 {
            let attribute = attribute?;
            if attribute.kind == 1 {
                names.push(attribute.text()?.to_string());
            }
        }
        Ok(())
    })?;
    Ok(names)
}

/// The group of changes of nf_tables for [`Socket::subscribe`] (`NFNLGRP_NFTABLES`).
pub const GROUP_CHANGES: u32 = 1 << (7 - 1);

/// The name of the table whose deletion a message of [`GROUP_CHANGES`] reports.
///
/// # Errors
/// [`Error::Malformed`].
pub fn deleted_table<'a>(message: &Message<'a>) -> Result<Option<&'a str>, Error> {
    if message.kind != DELTABLE {
        return Ok(None);
    }
    for attribute in message.split::<4>()?.1 {
        let attribute = attribute?;
        if attribute.kind == 1 {
            return Ok(Some(attribute.text()?));
        }
    }
    Ok(None)
}

/// A chain that sees packets by itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BaseChain {
    /// The family's number.
    pub family: u8,
    /// Its table.
    pub table: String,
    /// Its name.
    pub name: String,
    /// The hook's number, see [`Hook`].
    pub hook: u32,
    /// Whether packets no rule decides on are thrown away.
    pub drops: bool,
}

/// The base chains of all families at a hook.
///
/// # Errors
/// The kernel's.
pub fn base_chains(socket: &mut Socket, hook: Hook) -> Result<Vec<BaseChain>, Error> {
    const ANY_FAMILY: u8 = 0;
    let mut batch = Batch::new();
    batch.message("list chains", GETCHAIN, flags::DUMP, |w| w.header(&[ANY_FAMILY, 0, 0, 0]));
    let mut chains = Vec::new();
    socket.dump(&mut batch, |message| {
        let Some(message) = message else {
            chains.clear();
            return Ok(());
        };
        if message.kind != NEWCHAIN {
            return Ok(());
        }
        let (header, attributes) = message.split::<4>()?;
        let mut chain = BaseChain { family: header[0], hook: u32::MAX, ..BaseChain::default() };
        for attribute in attributes {
            let attribute = attribute?;
            match attribute.kind {
                1 => chain.table = attribute.text()?.to_string(),
                3 => chain.name = attribute.text()?.to_string(),
                4 => {
                    for inner in attribute.nested() {
                        let inner = inner?;
                        if inner.kind == 1 {
                            chain.hook = inner.be32()?;
                        }
                    }
                }
                5 => chain.drops = attribute.be32()? == 0,
                _ => {}
            }
        }
        if chain.hook == hook as u32 {
            chains.push(chain);
        }
        Ok(())
    })?;
    Ok(chains)
}
