//! The head of a request: what of it matters here, read within a limit.

use std::io;

/// Of the whole head.
const MAX_LENGTH: usize = 8 * 1024;
const MAX_FIELDS: usize = 64;

/// What was asked, and by which key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    pub method: String,
    /// Without what follows a question mark, and without a slash at its end.
    pub path: String,
    /// `X-API-Key`
    pub key: Option<Vec<u8>>,
}

/// Why there is no head.
#[derive(Debug)]
pub enum HeadError {
    Connection(io::Error),
    TooLong,
    Malformed,
}

/// Reads a head, in as many pieces as it comes in.
///
/// # Errors
/// When it is no HTTP, too long, or the connection ends before it.
pub fn read(mut more: impl FnMut(&mut [u8]) -> io::Result<usize>) -> Result<Head, HeadError> {
    let mut buffer = [0; MAX_LENGTH];
    let mut length = 0;
    loop {
        let (_, free) = buffer
            .split_at_mut_checked(length)
            .ok_or(HeadError::TooLong)?;
        if free.is_empty() {
            return Err(HeadError::TooLong);
        }
        let count = more(free).map_err(HeadError::Connection)?;
        if count == 0 {
            return Err(HeadError::Connection(io::ErrorKind::UnexpectedEof.into()));
        }
        length += count;
        if let Some(head) = parse(buffer.get(..length).unwrap_or_default())? {
            return Ok(head);
        }
    }
}

/// `None` as long as it is not complete.
///
/// # Errors
/// When it cannot become a head any more.
pub fn parse(bytes: &[u8]) -> Result<Option<Head>, HeadError> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut request = httparse::Request::new(&mut fields);
    match request.parse(bytes) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err(HeadError::TooLong),
        Err(_) => return Err(HeadError::Malformed),
    }
    let (Some(method), Some(target)) = (request.method, request.path) else {
        return Err(HeadError::Malformed);
    };
    let path = target.split(['?', '#']).next().unwrap_or_default();
    let key = request
        .headers
        .iter()
        .find(|field| field.name.eq_ignore_ascii_case("X-API-Key"));
    Ok(Some(Head {
        method: method.to_owned(),
        path: path.trim_end_matches('/').to_owned(),
        key: key.map(|field| field.value.to_owned()),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_may_come_in_pieces() {
        let mut pieces = [
            "GET /metrics/?a=b HTTP/1.1\r\nHo",
            "st: x\r\nx-api-KEY: k\r\n\r\n",
        ]
        .iter();
        let head = read(|buffer| {
            let piece = pieces.next().unwrap().as_bytes();
            buffer[..piece.len()].copy_from_slice(piece);
            Ok(piece.len())
        });
        let expected = Head {
            method: "GET".into(),
            path: "/metrics".into(),
            key: Some(b"k".to_vec()),
        };
        assert_eq!(head.unwrap(), expected);
    }

    #[test]
    fn what_has_no_end_is_too_long() {
        let mut text = b"GET /".iter().chain(std::iter::repeat(&b'a'));
        let endless = read(|buffer| {
            let piece = buffer.len().min(1000);
            let (piece, _) = buffer.split_at_mut(piece);
            piece
                .iter_mut()
                .zip(&mut text)
                .for_each(|(to, from)| *to = *from);
            Ok(piece.len())
        });
        assert!(matches!(endless, Err(HeadError::TooLong)));
    }

    #[test]
    fn what_is_no_http_is_refused_at_once() {
        assert!(matches!(
            parse(b"\x16\x03\x01\x02"),
            Err(HeadError::Malformed)
        ));
        assert!(matches!(parse(b"GET"), Ok(None)));
    }
}
