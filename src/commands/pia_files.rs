//! The two files of PIA's that everything rests on: found, never downloaded behind the user's back.

use std::path::{Path, PathBuf};

use crate::failure::{Failure, FailureKind, Retry};
use crate::settings::Environment;
use crate::system::paths;

/// A file of PIA's.
#[derive(Debug)]
pub struct PiaFile {
    what: &'static str,
    flag: &'static str,
    variable: &'static str,
    /// Where the image has it.
    in_image: &'static str,
    name: &'static str,
    /// At a commit, so that it stays the same.
    address: &'static str,
    /// SHA-256 of the file at that address.
    digest: &'static str,
}

/// The certificate authority of PIA's own servers.
pub const AUTHORITY: PiaFile = PiaFile {
    what: "PIA's certificate authority",
    flag: "-c",
    variable: "PIA_CA_FILE",
    in_image: paths::PIA_CA,
    name: "rsa_4096.crt",
    address: "https://raw.githubusercontent.com/pia-foss/desktop/\
        522751571ea7f6b1a9e3dd5cc4c70fc2fd136221/daemon/res/ca/rsa_4096.crt",
    digest: "bfbaa84984e05864400457187e43a4f434416e97839af4a4f54f58019c6eebc8",
};

/// The public key of the server list.
pub const LIST_KEY: PiaFile = PiaFile {
    what: "the key that signs PIA's server list",
    flag: "-k",
    variable: "PIA_SERVERLIST_KEY_FILE",
    in_image: paths::SERVER_LIST_KEY,
    name: "RegionsListPubKey.pem",
    address: "https://raw.githubusercontent.com/thrnz/docker-wireguard-pia/\
        666b9ccdd45ee184ef95c8487322c0f1d123b4ec/RegionsListPubKey.pem",
    digest: "75d4e59a8a46c997143642e95742122dbc484cb99c4008f78e2a53a80ddfba08",
};

impl PiaFile {
    /// By flag, by variable, in the usual places. What the user named is taken as it is, there or
    /// not.
    ///
    /// # Errors
    /// Says how to get it.
    pub fn find(&self, flag: Option<&Path>, environment: &Environment) -> Result<PathBuf, Failure> {
        if let Some(named) = flag.or(environment.text(self.variable).map(Path::new)) {
            return Ok(named.to_owned());
        }
        let places = self.places(environment);
        if let Some(found) = places.iter().find(|place| place.is_file()) {
            return Ok(found.clone());
        }
        Err(Failure::new(
            FailureKind::Local,
            Retry::Never,
            self.how_to_get(&places),
        ))
    }

    /// Where it is to be had, in words.
    pub fn whence(&self) -> String {
        format!("{} is at {}", self.what, self.address)
    }

    fn places(&self, environment: &Environment) -> Vec<PathBuf> {
        let config = environment.text("XDG_CONFIG_HOME").map(PathBuf::from);
        let config = config.or_else(|| Some(Path::new(environment.text("HOME")?).join(".config")));
        let own = config.map(|config| config.join("wireguard-pia").join(self.name));
        own.into_iter()
            .chain([
                Path::new("/etc/wireguard-pia").join(self.name),
                PathBuf::from(self.in_image),
            ])
            .collect()
    }

    fn how_to_get(&self, places: &[PathBuf]) -> String {
        let shown: Vec<String> = places
            .iter()
            .map(|place| place.display().to_string())
            .collect();
        let target = places
            .first()
            .map_or_else(|| PathBuf::from(self.name), Clone::clone);
        let directory = target.parent().unwrap_or(Path::new(".")).display();
        let target = target.display();
        format!(
            "{what} is not here: looked for {shown}. Name it with {flag} or in {variable}, or get \
             it:\n\n  \
             mkdir -p {directory}\n  curl -fLo {target} \\\n    {address}\n  \
             echo '{digest}  {target}' | sha256sum -c\n",
            what = self.what,
            shown = shown.join(", "),
            flag = self.flag,
            variable = self.variable,
            address = self.address,
            digest = self.digest,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(pairs: &[(&str, &str)]) -> Environment {
        pairs
            .iter()
            .map(|(name, value)| ((*name).into(), (*value).into()))
            .collect()
    }

    #[test]
    fn a_flag_wins_over_a_variable_and_that_over_the_usual_places() {
        let home = tempfile::tempdir().unwrap();
        let home_text = home.path().to_str().unwrap();
        let own = home.path().join(".config/wireguard-pia/rsa_4096.crt");
        std::fs::create_dir_all(own.parent().unwrap()).unwrap();
        std::fs::write(&own, "").unwrap();
        let set = environment(&[("HOME", home_text), ("PIA_CA_FILE", "/by/variable")]);
        assert_eq!(
            AUTHORITY.find(Some(Path::new("/by/flag")), &set).unwrap(),
            Path::new("/by/flag")
        );
        assert_eq!(
            AUTHORITY.find(None, &set).unwrap(),
            Path::new("/by/variable")
        );
        assert_eq!(
            AUTHORITY
                .find(None, &environment(&[("HOME", home_text)]))
                .unwrap(),
            own
        );
    }

    #[test]
    fn a_missing_file_comes_with_the_way_to_get_it() {
        let home = tempfile::tempdir().unwrap();
        let nowhere = environment(&[("XDG_CONFIG_HOME", home.path().to_str().unwrap())]);
        // The file itself may be on this machine, where the image has it.
        let missing = PiaFile {
            name: "NoSuchKey.pem",
            in_image: "/nowhere/NoSuchKey.pem",
            ..LIST_KEY
        };
        let text = missing.find(None, &nowhere).unwrap_err().to_string();
        assert!(
            text.contains(LIST_KEY.digest) && text.contains(LIST_KEY.address),
            "{text}"
        );
        assert!(
            text.contains(&format!(
                "{}/wireguard-pia/NoSuchKey.pem",
                home.path().display()
            )),
            "{text}"
        );
    }
}
