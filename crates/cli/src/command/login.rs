//! `login` and `logout`.

use crate::args::{LoginArgs, LogoutArgs};
use crate::failure::Failure;
use crate::request::auth;
use crate::wire::client::Client;
use serde_json::json;
use std::io::{BufRead, IsTerminal, Read, Write};

/// `login`
pub(crate) async fn login(client: &Client, args: &LoginArgs) -> Result<(), Failure> {
    let key = auth::key_of(args.server.as_deref().unwrap_or("docker.io"));
    if args.password_stdin && (args.password.is_some() || args.username.is_none()) {
        return Err(Failure::new(match args.username {
            None => "must provide --username with --password-stdin",
            Some(_) => "--password and --password-stdin are mutually exclusive",
        }));
    }
    if args.password.is_some() {
        eprintln!("WARNING! Using --password via the CLI is insecure. Use --password-stdin.");
    }
    let username = match &args.username {
        Some(name) => name.clone(),
        None => ask("Username: ")?,
    };
    let password = match &args.password {
        Some(password) => password.clone(),
        None if args.password_stdin => {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text)?;
            text.trim_end_matches(['\n', '\r']).to_owned()
        }
        None => ask_secret("Password: ")?,
    };
    if username.is_empty() || password.is_empty() {
        return Err(Failure::new("username and password must not be empty"));
    }
    let body = json!({"username": username, "password": password, "serveraddress": key});
    let answer = client.post("/auth", Some(&body)).await?;
    auth::store(&key, &username, &password, answer["IdentityToken"].as_str().unwrap_or_default())?;
    eprintln!("WARNING! Your credentials are stored unencrypted in '{}'.", auth::config_path().display());
    println!("{}", answer["Status"].as_str().unwrap_or("Login Succeeded"));
    Ok(())
}

fn ask(prompt: &str) -> Result<String, Failure> {
    if !std::io::stdin().is_terminal() {
        return Err(Failure::new("cannot perform an interactive login from a non TTY device"));
    }
    print!("{prompt}");
    std::io::stdout().flush()?;
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line)?;
    Ok(line.trim().to_owned())
}

fn ask_secret(prompt: &str) -> Result<String, Failure> {
    use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        return Err(Failure::new("cannot perform an interactive login from a non TTY device"));
    }
    let before = tcgetattr(&stdin).map_err(std::io::Error::from)?;
    let mut silent = before.clone();
    silent.local_modes.remove(LocalModes::ECHO);
    tcsetattr(&stdin, OptionalActions::Now, &silent).map_err(std::io::Error::from)?;
    let answer = ask(prompt);
    tcsetattr(&stdin, OptionalActions::Now, &before).map_err(std::io::Error::from)?;
    println!();
    answer
}

/// `logout`
pub(crate) fn logout(args: &LogoutArgs) -> Result<(), Failure> {
    let key = auth::key_of(args.server.as_deref().unwrap_or("docker.io"));
    println!("Removing login credentials for {key}");
    if !auth::forget(&key)? {
        println!("Not logged in to {key}");
    }
    Ok(())
}
