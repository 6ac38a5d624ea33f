//! Opening a channel.

use lapin::{Channel, Connection};

/// A new channel. lapin counts their numbers round, and one that the broker has closed once answers with that old refusal for
/// as long as the connection stands: the next number is taken then. Nothing else is refused in such words here.
pub(super) async fn open_channel(connection: &Connection) -> lapin::Result<Channel> {
    loop {
        match connection.create_channel().await {
            Err(error) if error.is_amqp_soft_error() => {}
            answer => return answer,
        }
    }
}
