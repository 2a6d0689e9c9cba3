//! `tare`: containers for people. The verbs, flags, output and exit codes are docker's; the daemon is any that
//! speaks the Docker Engine API, by default Tare's own.

#![allow(
    rustdoc::broken_intra_doc_links,
    rustdoc::invalid_html_tags,
    reason = "the comments on flags are the texts of --help, in which [:TAG] and <key> are no links"
)]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command line talks to a person")]

mod args;
mod command;
mod failure;
mod request;
mod usage;
mod view;
mod wire;

use args::{Cli, ContainerVerb, ImageVerb, SystemVerb, Verb};
use clap::CommandFactory;
use failure::Failure;
use std::process::ExitCode;
use wire::client::Client;
use wire::endpoint::Endpoint;

/// A reader that went away (`tare ps | head -1`) ends the command quietly, as SIGPIPE does for other programs.
/// The signal itself stays ignored: it would also fire for a daemon that closes its socket.
fn end_quietly_without_a_reader() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let message = panic.payload().downcast_ref::<String>().map(String::as_str).unwrap_or_default();
        if message.starts_with("failed printing to std") && message.contains("Broken pipe") {
            #[expect(clippy::exit, reason = "the end of the process is what the reader asked for")]
            std::process::exit(141);
        }
        usual(panic);
    }));
}

fn main() -> ExitCode {
    end_quietly_without_a_reader();
    let cli = match Cli::of_process() {
        Ok(cli) => cli,
        Err(error) => {
            let words: Vec<String> = std::env::args().skip(1).collect();
            return ExitCode::from(usage::report(&error, &words));
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let result = match runtime {
        Ok(runtime) => {
            let result = runtime.block_on(dispatch(cli));
            // A read of standard input may still be blocked in its thread; it must not hold the exit.
            runtime.shutdown_background();
            result
        }
        Err(error) => Err(Failure::new(format!("start the async runtime: {error}"))),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if !failure.message.is_empty() {
                eprintln!("{}", failure.message);
            }
            let typed = || usage::Typed::find(&std::env::args().skip(1).collect::<Vec<_>>());
            match failure.manual {
                failure::Manual::None => {}
                failure::Manual::Help => eprintln!("\n{}", typed().more("Run")),
                failure::Manual::Usage => eprintln!("{}", typed().fault_of_flag()),
            }
            if let Some(hint) = &failure.hint {
                eprintln!("hint: {hint}");
            }
            ExitCode::from(failure.code)
        }
    }
}

async fn dispatch(cli: Cli) -> Result<(), Failure> {
    let environment = std::env::var("DOCKER_HOST").ok();
    let endpoint = Endpoint::choose(cli.global.host.as_deref(), environment.as_deref())?;
    let client = Client::new(endpoint, std::env::var("DOCKER_API_VERSION").ok());
    match cli.verb {
        Verb::Completion(args) => {
            clap_complete::generate(args.shell, &mut Cli::command(), "tare", &mut std::io::stdout());
            Ok(())
        }
        Verb::Doctor(args) => command::doctor::run(&client, &args).await,
        Verb::Image(ImageVerb::Bootstrap(args)) => command::bootstrap::run(&args).await,
        Verb::Run(args) if args.start_daemon => {
            command::daemon::start_if_absent(&client).await?;
            command::run::run(&client, &args).await
        }
        // Their first request asks for one object and is answered by a refusal where the daemon is older.
        verb @ (Verb::Run(_) | Verb::Create(_) | Verb::Exec(_)) => verbs(&client, verb).await,
        verb => {
            client.negotiate().await?;
            verbs(&client, verb).await
        }
    }
}

async fn verbs(client: &Client, verb: Verb) -> Result<(), Failure> {
    use command::{
        copy, events, exec, images, inspect, list, login, logs, networks, run, simple, stats, system,
        transfer, volumes,
    };
    match verb {
        Verb::Run(args) => run::run(client, &args).await,
        Verb::Create(args) => run::create(client, &args).await,
        Verb::Start(args) => run::start(client, &args).await,
        Verb::Stop(args) => simple::stop(client, &args, "stop").await,
        Verb::Restart(args) => simple::stop(client, &args, "restart").await,
        Verb::Kill(args) => simple::kill(client, &args).await,
        Verb::Pause(names) => simple::each(client, &names.names, "pause").await,
        Verb::Unpause(names) => simple::each(client, &names.names, "unpause").await,
        Verb::Wait(names) => simple::wait(client, &names.names).await,
        Verb::Rm(args) => simple::remove(client, &args).await,
        Verb::Rename(args) => simple::rename(client, &args).await,
        Verb::Ps(args) => list::containers(client, &args).await,
        Verb::Logs(args) => logs::run(client, &args).await,
        Verb::Exec(args) => exec::run(client, &args).await,
        Verb::Attach(args) => run::attach(client, &args).await,
        Verb::Top(args) => simple::top(client, &args).await,
        Verb::Stats(args) => stats::run(client, &args).await,
        Verb::Cp(args) => copy::run(client, &args).await,
        Verb::Port(args) => simple::port(client, &args).await,
        Verb::Diff(name) => simple::diff(client, &name.name).await,
        Verb::Update(args) => simple::update(client, &args).await,
        Verb::Commit(args) => transfer::commit(client, &args).await,
        Verb::Export(args) => transfer::export(client, &args).await,
        Verb::Import(args) => transfer::import(client, &args).await,
        Verb::Save(args) => transfer::save(client, &args).await,
        Verb::Load(args) => transfer::load(client, &args).await,
        Verb::Pull(args) => images::pull(client, &args).await,
        Verb::Push(args) => images::push(client, &args).await,
        Verb::Images(args) => list::images(client, &args).await,
        Verb::Rmi(args) => images::remove(client, &args).await,
        Verb::Tag(args) => images::tag(client, &args).await,
        Verb::History(args) => images::history(client, &args).await,
        Verb::Inspect(args) => inspect::any(client, &args).await,
        Verb::Login(args) => login::login(client, &args).await,
        Verb::Logout(args) => login::logout(&args),
        Verb::Events(args) | Verb::System(SystemVerb::Events(args)) => events::run(client, &args).await,
        Verb::Info(args) | Verb::System(SystemVerb::Info(args)) => system::info(client, &args).await,
        Verb::Version(args) => system::version(client, &args).await,
        Verb::System(SystemVerb::Df(args)) => system::df(client, &args).await,
        Verb::System(SystemVerb::Prune(args)) => system::prune(client, &args).await,
        Verb::Container(verb) => Box::pin(containers(client, *verb)).await,
        Verb::Image(verb) => Box::pin(image_verbs(client, verb)).await,
        Verb::Volume(verb) => volumes::run(client, verb).await,
        Verb::Network(verb) => networks::run(client, verb).await,
        Verb::Doctor(_) | Verb::Completion(_) => Ok(()),
    }
}

async fn containers(client: &Client, verb: ContainerVerb) -> Result<(), Failure> {
    let verb = match verb {
        ContainerVerb::Inspect(args) => return command::inspect::kind(client, &args, "container").await,
        ContainerVerb::Prune(args) => return command::system::prune_containers(client, &args).await,
        ContainerVerb::Run(args) => Verb::Run(args),
        ContainerVerb::Create(args) => Verb::Create(args),
        ContainerVerb::Start(args) => Verb::Start(args),
        ContainerVerb::Stop(args) => Verb::Stop(args),
        ContainerVerb::Restart(args) => Verb::Restart(args),
        ContainerVerb::Kill(args) => Verb::Kill(args),
        ContainerVerb::Pause(args) => Verb::Pause(args),
        ContainerVerb::Unpause(args) => Verb::Unpause(args),
        ContainerVerb::Wait(args) => Verb::Wait(args),
        ContainerVerb::Rm(args) => Verb::Rm(args),
        ContainerVerb::Rename(args) => Verb::Rename(args),
        ContainerVerb::Ls(args) => Verb::Ps(args),
        ContainerVerb::Logs(args) => Verb::Logs(args),
        ContainerVerb::Exec(args) => Verb::Exec(args),
        ContainerVerb::Attach(args) => Verb::Attach(args),
        ContainerVerb::Top(args) => Verb::Top(args),
        ContainerVerb::Stats(args) => Verb::Stats(args),
        ContainerVerb::Cp(args) => Verb::Cp(args),
        ContainerVerb::Port(args) => Verb::Port(args),
        ContainerVerb::Diff(args) => Verb::Diff(args),
        ContainerVerb::Update(args) => Verb::Update(args),
        ContainerVerb::Commit(args) => Verb::Commit(args),
        ContainerVerb::Export(args) => Verb::Export(args),
    };
    Box::pin(verbs(client, verb)).await
}

async fn image_verbs(client: &Client, verb: ImageVerb) -> Result<(), Failure> {
    let verb = match verb {
        ImageVerb::Inspect(args) => return command::inspect::kind(client, &args, "image").await,
        ImageVerb::Prune(args) => return command::system::prune_images(client, &args).await,
        ImageVerb::Bootstrap(args) => return command::bootstrap::run(&args).await,
        ImageVerb::Pull(args) => Verb::Pull(args),
        ImageVerb::Push(args) => Verb::Push(args),
        ImageVerb::Ls(args) => Verb::Images(args),
        ImageVerb::Rm(args) => Verb::Rmi(args),
        ImageVerb::Tag(args) => Verb::Tag(args),
        ImageVerb::History(args) => Verb::History(args),
        ImageVerb::Import(args) => Verb::Import(args),
        ImageVerb::Save(args) => Verb::Save(args),
        ImageVerb::Load(args) => Verb::Load(args),
    };
    Box::pin(verbs(client, verb)).await
}
