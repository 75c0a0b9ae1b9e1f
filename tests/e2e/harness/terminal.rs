//! The program at a terminal: what it shows is read, and what is typed reaches it.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};

use rustix::fs::{Mode, OFlags, open};
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use tempfile::TempDir;

use super::eventually;
use super::program::Start;

/// A program whose input, output and errors are one terminal, of 12 lines. It is killed when it is dropped.
pub struct Terminal {
    child: Child,
    keyboard: File,
    shown: Arc<Mutex<String>>,
    _folder: TempDir,
}

impl Terminal {
    /// Starts a program there.
    pub fn start(program: Start) -> Self {
        Self::start_with(program, Stdio::from)
    }

    /// Starts one whose output goes elsewhere.
    pub fn start_piped(program: Start) -> Self {
        Self::start_with(program, |_| Stdio::null())
    }

    fn start_with(program: Start, output: impl FnOnce(OwnedFd) -> Stdio) -> Self {
        let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&ours).unwrap();
        unlockpt(&ours).unwrap();
        let path = ptsname(&ours, Vec::new()).unwrap();
        let its = open(path.as_c_str(), OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap();
        tcsetwinsize(&its, Winsize { ws_row: 12, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
        let (mut command, folder) = program.into_command();
        let end = || its.try_clone().unwrap();
        let child = command.stdin(end()).stdout(output(end())).stderr(end()).spawn().unwrap();
        let (keyboard, shown) = (File::from(ours), Arc::default());
        read_all(keyboard.try_clone().unwrap(), &shown);
        Self { child, keyboard, shown, _folder: folder }
    }

    /// Everything that was shown so far.
    pub fn shown(&self) -> String {
        self.shown.lock().unwrap().clone()
    }

    /// Waits until this is shown.
    pub async fn shows(&self, text: &str) {
        eventually(text, async || self.shown().contains(text).then_some(())).await;
    }

    /// Types a line.
    pub fn answer(&mut self, line: &str) {
        writeln!(self.keyboard, "{line}").unwrap();
    }

    /// Presses Ctrl-C.
    pub fn interrupt(&self) {
        kill_process(Pid::from_child(&self.child), Signal::INT).unwrap();
    }

    /// Waits for the end and gives the exit code.
    pub async fn ends(&mut self) -> Option<i32> {
        eventually("it ends", async || self.child.try_wait().unwrap()).await.code()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // One that has ended by itself is not there to be killed.
        let _ = self.child.kill();
        self.child.wait().unwrap();
    }
}

/// Reads until nobody writes any more.
fn read_all(mut from: File, into: &Arc<Mutex<String>>) {
    let into = into.clone();
    std::thread::spawn(move || {
        let mut bytes = [0; 4096];
        while let Ok(count @ 1..) = from.read(&mut bytes) {
            into.lock().unwrap().push_str(&String::from_utf8_lossy(&bytes[..count]));
        }
    });
}
